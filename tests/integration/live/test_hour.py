"""Ten minutes of a stream, or an hour (HEADRACE_TEST_HOUR_SECONDS=3600): every edge says the same, all readers take it.

With HEADRACE_TEST_MPD_SCHEMA the MPDs are held against that schema too: DASH-MPD.xsd of ISO/IEC 23009-1, which may not
be given away here (github.com/MPEGGroup/DASHSchema has it; put its xlink.xsd beside it).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import m3u8
import pytest

from integration.live.hour import Hour, run_hour
from support.http_players import PLAYERS, requires_players
from unit.live.m3u8 import read
from unit.live.mpd import read_mpd

SECONDS = float(os.environ.get("HEADRACE_TEST_HOUR_SECONDS", "600"))
SCHEMA = os.environ.get("HEADRACE_TEST_MPD_SCHEMA", "")
SEED = int(os.environ.get("HEADRACE_TEST_HOUR_SEED", "1"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def hour() -> Hour:
    found = asyncio.run(run_hour(SECONDS, SEED))
    print(f"{SECONDS:g} s: {dict(found.counts)}, {len(found.playlists)} playlists, {len(found.manifests)} MPDs")
    return found


def media_playlists(hour: Hour) -> list[str]:
    return [text for text in hour.playlists if "#EXT-X-STREAM-INF" not in text]


def test_edges_give_the_same_bytes(hour: Hour) -> None:
    """Media, headers, and playlists cut at the same part, also where an edge began cold."""
    assert hour.differences == []
    assert hour.counts["cold"] >= SECONDS // 300
    assert hour.counts["epochs"] > 3
    assert hour.counts["gaps"] > 0
    assert min(hour.counts[kind] for kind in ("playlist", "segment", "part", "header", "same mpd")) > 10


def test_every_playlist_keeps_the_rules(hour: Hour) -> None:
    """Our own reader, and m3u8: the same segments with the same lengths."""
    for text in media_playlists(hour):
        ours, theirs = read(text), m3u8.loads(text)
        listed = [segment for segment in ours.segments if segment.uri]
        assert [segment.uri for segment in listed] == [segment.uri for segment in theirs.segments if segment.uri]
        durations = [segment.duration for segment in theirs.segments if segment.uri]
        assert durations == [segment.seconds for segment in listed]
        assert theirs.media_sequence == ours.sequence
        assert theirs.is_endlist == ours.ended
        assert [segment.gap_tag for segment in theirs.segments if segment.uri] == [s.gap or None for s in listed]
    for text in hour.playlists.keys() - set(media_playlists(hour)):
        assert m3u8.loads(text).is_variant


@requires_players
def test_hls_parser_takes_every_playlist(hour: Hour, tmp_path: Path) -> None:
    """Strictly."""
    (tmp_path / "texts.json").write_text(json.dumps(list(hour.playlists)))
    script = tmp_path / "check.cjs"
    script.write_text(
        f"const HLS = require({json.dumps(str(PLAYERS / 'hls-parser'))});"
        "HLS.setOptions({ strictMode: true });"
        "const texts = JSON.parse(require('fs').readFileSync(process.argv[2]));"
        "for (const text of texts) { try { HLS.parse(text); } catch (error) { console.log(text); throw error; } }"
        "console.log(texts.length);"
    )
    done = subprocess.run(
        ["node", str(script), str(tmp_path / "texts.json")], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (str(len(hour.playlists)), "")


def test_every_manifest_is_whole(hour: Hour) -> None:
    """Periods, timelines and addresses hold together, and what was told of a whole segment is never told otherwise."""
    known: dict[str, tuple[int, int]] = {}
    for text in hour.manifests:
        manifest = read_mpd(text)
        for period in manifest.periods:
            for segments in period.values():
                for segment in segments[:-1]:
                    fact = (segment.start, segment.duration)
                    assert known.setdefault(segment.address, fact) == fact


def test_the_schema_takes_every_manifest(hour: Hour, tmp_path: Path) -> None:
    """MPEG's own, where it is at hand; without it, the order and names of elements that it demands of what we write."""
    files = [tmp_path / f"{number}.mpd" for number in range(len(hour.manifests))]
    for file, text in zip(files, hour.manifests, strict=True):
        file.write_text(text)
        assert read_mpd(text).periods
    if SCHEMA:
        check = ["xmllint", "--nonet", "--noout", "--schema", SCHEMA, *map(str, files)]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert done.stderr.count(" validates") == len(files), done.stderr[-2000:]
        print(f"{len(files)} MPDs are valid by {SCHEMA}")
