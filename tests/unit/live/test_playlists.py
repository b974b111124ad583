"""Playlists of what a window holds."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.media.declaration import declare
from headrace.media.manifest import ManifestView, manifest
from headrace.media.playlists import MediaView, date_time, media_playlist, multivariant_playlist
from headrace.media.samples import PackagerOptions
from headrace.relay.broadcast import Opened, StateChange
from headrace.relay.window import Window
from headrace.wire.stream import StreamState
from unit.live.m3u8 import Playlist, read
from unit.live.mpd import read_mpd
from unit.live.streams import Programme, audio, video, window_of


def playlist_of(window: Window, track: int = 1, *, skip: bool = False) -> str:
    listed = window.windows[track].listed(window.limits.seconds)
    return media_playlist(MediaView(listed, window.ended), skip=skip)


def listed(window: Window, track: int = 1) -> Playlist:
    return read(playlist_of(window, track))


def test_golden_media_playlist() -> None:
    """A short stream of two epochs, the second still open, as it is written to the byte."""
    programme = Programme()
    entries = programme.epoch(2.0)
    opened = programme.epoch(4.0)
    window = window_of(entries + [entry for entry in opened if _before(entry, 1.0, programme)])
    assert playlist_of(window) == GOLDEN


def _before(entry: object, seconds: float, programme: Programme) -> bool:
    time = getattr(entry, "decode_time", None)
    track = getattr(getattr(entry, "id", None), "track", 0)
    scale = {1: 90_000, 2: 48_000}.get(track, 1)
    return time is None or time / scale < 1_790_000_003.5 + seconds


GOLDEN = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:7
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=42.0,HOLD-BACK=21.0,PART-HOLD-BACK=1.44
#EXT-X-PART-INF:PART-TARGET=0.48
#EXT-X-MEDIA-SEQUENCE:100
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MAP:URI="1790000000000/1/header.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:20.000Z
#EXT-X-PART:DURATION=0.48,URI="1790000000000/1/100.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.48,URI="1790000000000/1/100.1.m4s"
#EXT-X-PART:DURATION=0.48,URI="1790000000000/1/100.2.m4s"
#EXT-X-PART:DURATION=0.48,URI="1790000000000/1/100.3.m4s"
#EXT-X-PART:DURATION=0.08,URI="1790000000000/1/100.4.m4s"
#EXTINF:2.0,
1790000000000/1/100.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="1790000003500/1/header.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:23.500Z
#EXT-X-PART:DURATION=0.48,URI="1790000003500/1/101.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.48,URI="1790000003500/1/101.1.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="1790000003500/1/101.2.m4s"
"""


@settings(max_examples=25, deadline=None)
@given(
    epochs=st.lists(
        st.tuples(
            st.floats(0.5, 9.0),
            st.integers(3, 400),
            st.sampled_from([5.0, 12.5, 15.0, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_every_playlist_of_any_stream_keeps_the_rules(epochs: list[tuple[float, int, float]]) -> None:
    """After each chunk: parts, lengths and numbers hold, and nothing that was listed is ever listed otherwise."""
    programme = Programme()
    window = Window()
    known: dict[tuple[int, int], tuple[str | None, float, int]] = {}
    ends: dict[int, tuple[int, int]] = {}
    for seconds, gop, rate in epochs:
        for entry in programme.epoch(seconds, gop=gop, frame_rate=rate):
            before = {number: each.version for number, each in window.windows.items()}
            window.take(entry)
            for number, each in window.windows.items():
                if each.version == before.get(number) or not each.listed(60.0):
                    continue
                playlist = listed(window, number)
                assert playlist.last >= ends.get(number, (0, 0))
                ends[number] = playlist.last
                for segment in playlist.segments:
                    fact = (segment.uri, segment.seconds, segment.discontinuity)
                    if segment.uri:
                        assert known.setdefault((number, segment.number), fact) == fact


def test_a_delta_update_says_the_same() -> None:
    """What follows EXT-X-SKIP is the end of the whole playlist, and what it leaves out is old enough."""
    window = window_of(Programme().epoch(58.0))
    whole, delta = listed(window), read(playlist_of(window, skip=True))
    assert delta.skipped == 7
    assert [segment.uri for segment in delta.segments] == [segment.uri for segment in whole.segments[delta.skipped :]]
    kept = sum(segment.seconds for segment in delta.segments)
    assert 6 * whole.target <= kept < 6 * whole.target + 2.1


def test_the_target_is_that_of_the_longest_that_is_listed() -> None:
    """Also where a publisher with other settings took over: no segment is longer than EXT-X-TARGETDURATION."""
    programme = Programme()
    before, after = programme.epoch(8.0), programme.epoch(70.0)
    assert isinstance(before[0], Opened)
    longer = tuple(msgspec.structs.replace(track, segment_max_seconds=11.2) for track in before[0].tracks)
    before[0] = Opened(before[0].epoch, longer)
    assert listed(window_of(before + after[:200])).target == 12
    assert listed(window_of(before + after)).target == 7


def test_nothing_to_skip_is_a_whole_playlist() -> None:
    """A client that asks for a delta of a short playlist gets all of it."""
    window = window_of(Programme().epoch(10.0))
    assert playlist_of(window, skip=True) == playlist_of(window)


def test_only_an_ended_stream_has_an_end() -> None:
    """EXT-X-ENDLIST for `ended`, never for `interrupted`; then there is nothing to wait for."""
    window = window_of(Programme().epoch(6.0))
    window.take(StateChange(StreamState.INTERRUPTED, "the camera is away"))
    assert not listed(window).ended
    window.take(StateChange(StreamState.ENDED, "over"))
    ended = listed(window)
    assert ended.ended
    assert ended.hint is None
    assert "CAN-BLOCK-RELOAD=YES" in ended.text  # hls-parser refuses parts without it


def test_a_part_that_is_too_long_is_not_listed() -> None:
    """Where a source left out pictures for longer than a part, its segment is listed as a whole only."""
    programme = Programme()
    entries = programme.epoch(8.0, leave_out=range(62, 80))
    assert [len(segment.parts) for segment in listed(window_of(entries)).segments] == [0, 0, 5, 5]
    holed = read(playlist_of(window_of([e for e in entries if getattr(getattr(e, "id", None), "segment", 0) < 102])))
    assert [len(segment.parts) for segment in holed.segments] == [5, 0]


def test_the_hint_names_what_comes_next() -> None:
    """With whole GOPs of the same length every hint is the part that is listed next."""
    window, hint, right, wrong = Window(), "", 0, 0
    for entry in Programme().epoch(20.0):
        version = window.windows[1].version if window.windows else 0
        window.take(entry)
        if not window.windows or window.windows[1].version == version or not window.windows[1].listed(60.0):
            continue
        text = playlist_of(window)
        if hint and f'URI="{hint}"' in text.split("#EXT-X-PRELOAD-HINT")[0]:
            right += 1
        elif hint and read(text).hint != hint:
            wrong += 1
        hint = read(text).hint or ""
    assert right > 30
    assert wrong <= 1  # the first segment's length cannot be known


def test_multivariant_playlist() -> None:
    """Codecs, size, rates and each audio track as a rendition, to the byte."""
    tracks = {
        track.track: declare(track, PackagerOptions(), 0)
        for track in (video(), audio(2, "de"), audio(3, "de"), audio(4, 'a"b'))
    }
    assert multivariant_playlist(tracks, 30.0) == (
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-START:TIME-OFFSET=-30.0,PRECISE=YES\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="de 1",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",'
        'URI="2.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="de 2",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",'
        'URI="3.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="ab",LANGUAGE="ab",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",'
        'URI="4.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=4768000,AVERAGE-BANDWIDTH=2432000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio"\n1.m3u8\n'
    )


def test_h265_is_hvc1() -> None:
    """As Apple's players want it, with sound in the same list."""
    picture = msgspec.structs.replace(video(), codec="hvc1.1.6.L93.90")
    tracks = {track.track: declare(track, PackagerOptions(), 0) for track in (picture, audio())}
    assert 'CODECS="hvc1.1.6.L93.90,mp4a.40.2"' in multivariant_playlist(tracks)
    window = window_of(Programme().epoch(6.0, tracks=(picture, audio())))
    segments = [window.windows[track].listed(60.0) for track in (1, 2)]
    assert ' codecs="hvc1.1.6.L93.90"' in manifest(ManifestView(segments, 60.0))


def test_audio_alone_is_a_variant() -> None:
    """Without video each audio track is a variant of its own."""
    text = multivariant_playlist({2: declare(audio(), PackagerOptions(), 0)})
    assert text.splitlines()[2:] == [
        '#EXT-X-STREAM-INF:BANDWIDTH=160000,AVERAGE-BANDWIDTH=128000,CODECS="mp4a.40.2"',
        "2.m3u8",
    ]
    window = window_of(Programme().epoch(9.0, tracks=(audio(),)))
    assert [segment.uri is not None for segment in listed(window, 2).segments] == [True] * 5


def test_declared_rates_stay() -> None:
    """What the source says of its mean rate is not guessed over."""
    track = declare(msgspec.structs.replace(video(), bandwidth=3_000_000), PackagerOptions(), 4)
    assert (track.bandwidth, track.average_bandwidth, track.discontinuity) == (6_000_000, 3_000_000, 4)
    assert track.segment_max_seconds == 6.5
    assert replace(PackagerOptions(), segment_max_seconds=1.0).segment_seconds == 2.0


def test_a_clock_far_ahead_is_no_error() -> None:
    """A source that believes in the year 2200, or 30,000, has playlists like any other."""
    for now in (7_258_118_400.0, 884_541_340_800.0):
        window = window_of(Programme(now=now).epoch(6.0))
        assert len(listed(window).segments) == 3
        tracks = [window.windows[track].listed(60.0) for track in (1, 2)]
        assert read_mpd(manifest(ManifestView(tracks, 60.0))).periods
    assert date_time(10**19) == "9999-12-31T23:59:59.999Z"
