"""Rates that are told anew inside an epoch: who was there and who came later say the same."""

from __future__ import annotations

import msgspec

from headrace.media.playlists import multivariant_playlist
from headrace.relay.broadcast import Opened
from unit.live.streams import Programme, window_of
from unit.live.test_window import _mpd, text_of


def test_rates_count_for_all_of_their_epoch() -> None:
    """Of the epoch that they were told in, and for the segments that were made before as well."""
    programme = Programme()
    first, second = programme.epoch(20.0), programme.epoch(9.0)
    opened = second[0]
    assert isinstance(opened, Opened)
    right = Opened(opened.epoch, tuple(msgspec.structs.replace(t, bandwidth=1000 * t.track) for t in opened.tracks), 1)
    there = window_of([*first, *second[:40], right, *second[40:]])
    later = window_of([*first, right, *second[1:]])
    assert multivariant_playlist(there.tracks) == multivariant_playlist(later.tracks)
    assert "BANDWIDTH=3000" in multivariant_playlist(there.tracks)
    assert _mpd(there) == _mpd(later)
    assert 'bandwidth="1000"' in _mpd(there)
    assert [text_of(there, track) for track in (1, 2)] == [text_of(later, track) for track in (1, 2)]
