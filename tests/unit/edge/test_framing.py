"""Frames and framings: entries in, bytes out."""

from __future__ import annotations

import msgspec
import pytest

from headrace.identifiers import ChunkId, Epoch
from headrace.media.boxes import combine_headers
from headrace.relay.broadcast import Gap, Opened, StateChange
from headrace.wire import play
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState
from headrace_edge.frames import CLOSE_REASON_MAX_BYTES, CloseCode, Opcode, close_frame, frame
from headrace_edge.framing import PlainFraming, PlayFraming
from unit.edge.reading import split_frames
from unit.edge.synthetic import AUDIO, DATA, OTHER_VIDEO, VIDEO, media

OPENED = Opened(Epoch(5), (AUDIO, VIDEO))


def chunk(track: int = 1, samples: int = 1) -> Chunk:
    body = media("body", 100) if samples else b""
    return make_chunk(ChunkId(Epoch(5), track, 1, 0), Flag.RANDOM_ACCESS, 0, samples, 0, samples, 0, body)


def test_players_hear_nothing_of_other_rates() -> None:
    """An epoch begins once for them, whatever ingress tells the nodes of it afterwards."""
    again = Opened(OPENED.epoch, tuple(msgspec.structs.replace(t, bandwidth=500_000) for t in OPENED.tracks), 1)
    for framing in (PlayFraming(), PlainFraming()):
        assert framing.opened(again, OPENED) == b""
    assert PlayFraming().opened(again, None) != b""


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 200_000])
def test_frames_of_every_length(size: int) -> None:
    """The length is written in the shortest of its three forms, and nothing is masked."""
    body = bytes(size)
    data = frame(Opcode.BINARY, body[:10], memoryview(body[10:]))
    assert list(split_frames(data)) == [(2, body)]
    assert len(data) - size == (2 if size < 126 else 4 if size < 65536 else 10)


def test_close_frames() -> None:
    """A close frame carries code and reason; a long reason is cut between characters."""
    assert close_frame(CloseCode.GOING_AWAY, "bye") == b"\x88\x05\x03\xe9bye"
    ((opcode, payload),) = split_frames(close_frame(CloseCode.REFUSED, "é" * 100))
    assert opcode == 8
    assert len(payload) == 2 + CLOSE_REASON_MAX_BYTES - 1
    assert payload[2:].decode() == "é" * 61


def test_play_chunks_are_records() -> None:
    """A chunk travels as its record, unchanged."""
    assert list(split_frames(PlayFraming().chunk(chunk(), OPENED))) == [(2, chunk().record)]
    empty = chunk(samples=0)
    assert list(split_frames(PlayFraming().chunk(empty, OPENED))) == [(2, empty.record)], "it carries the numbers"


def test_play_words() -> None:
    """Everything else is a text message of the protocol."""
    framing = PlayFraming()
    route = (RouteHop("ingress-1", "ingress"),)
    told = {
        framing.opened(OPENED, None): play.Tracks(epoch=5, tracks=(AUDIO, VIDEO)),
        framing.gap(Gap(chunk().id)): play.GapNotice(track=1, next=(5, 1, 0)),
        framing.skipped(9): play.Skipped(entries=9),
        framing.state(StateChange(StreamState.LIVE, "", route)): play.State(state=StreamState.LIVE, route=route),
    }
    for data, message in told.items():
        ((opcode, payload),) = split_frames(data)
        assert opcode == 1
        assert play.decode_from_edge(payload) == message


def test_long_reasons_are_cut() -> None:
    """A reason is for people: nobody reads more than the protocol allows."""
    ((_, payload),) = split_frames(PlayFraming().state(StateChange(StreamState.INTERRUPTED, "x" * 10_000)))
    message = play.decode_from_edge(payload)
    assert isinstance(message, play.State)
    assert len(message.reason) == play.REASON_MAX_CHARACTERS


def test_plain_header_has_all_tracks_in_order() -> None:
    """One ftyp+moov with the tracks by number, data tracks left out."""
    opened = Opened(Epoch(5), (DATA, AUDIO, VIDEO))
    header = combine_headers([VIDEO.header, AUDIO.header])
    assert list(split_frames(PlainFraming().opened(opened, None))) == [(2, header)]


def test_plain_header_is_sent_when_it_changed() -> None:
    """Whoever was told the same headers is told nothing."""
    framing = PlainFraming()
    assert framing.opened(Opened(Epoch(6), (VIDEO, AUDIO)), OPENED) == b""
    assert framing.opened(Opened(Epoch(6), (OTHER_VIDEO, AUDIO)), OPENED) != b""
    assert framing.opened(Opened(Epoch(6), (VIDEO,)), OPENED) != b""
    assert framing.opened(Opened(Epoch(6), (DATA,)), OPENED) == b""


def test_plain_chunks_are_moof_and_mdat() -> None:
    """prft is taken off; chunks without media and of data tracks are nothing."""
    framing = PlainFraming()
    ((_, payload),) = split_frames(framing.chunk(chunk(), OPENED))
    assert payload[4:8] == b"moof"
    assert bytes(chunk().media).endswith(payload)
    assert framing.chunk(chunk(samples=0), OPENED) == b""
    assert framing.chunk(chunk(track=3), Opened(Epoch(5), (VIDEO, DATA))) == b""


def test_plain_says_no_words() -> None:
    """Players of this kind know nothing but boxes."""
    framing = PlainFraming()
    assert framing.gap(Gap(chunk().id)) == b""
    assert framing.state(StateChange(StreamState.ENDED)) == b""
    assert framing.skipped(3) == b""
