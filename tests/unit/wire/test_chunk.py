"""The chunk record against its golden vectors, both ways, whole and in pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.identifiers import ChunkId, Epoch
from headrace.wire.chunk import RECORD_HEADER_BYTES, Flag, make_chunk, parse_chunk
from headrace.wire.errors import WireError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "chunk.json").read_text())["chunks"]
NAMES = [vector["name"] for vector in VECTORS]
FIELDS = ("decode_time", "duration", "part", "samples", "capture_us")


def id_of(vector: dict[str, Any]) -> ChunkId:
    return ChunkId(Epoch(vector["epoch"]), vector["track"], vector["segment"], vector["chunk"])


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_writing_a_chunk_gives_its_vector(vector: dict[str, Any]) -> None:
    """The bytes that travel every hop."""
    fields = {name: vector[name] for name in FIELDS}
    chunk = make_chunk(id_of(vector), Flag(vector["flags"]), media=bytes.fromhex(vector["media"]), **fields)
    assert chunk.record.hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_reading_a_vector_gives_its_fields(vector: dict[str, Any]) -> None:
    """And shares the record's bytes."""
    record = bytes.fromhex(vector["hex"])
    chunk = parse_chunk(record)
    assert chunk.record is record
    assert (chunk.id, int(chunk.flags), chunk.media.hex()) == (id_of(vector), vector["flags"], vector["media"])
    assert [getattr(chunk, name) for name in FIELDS] == [vector[name] for name in FIELDS]


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_a_record_shorter_than_its_header_is_an_error(vector: dict[str, Any]) -> None:
    """Nothing is read that is not there."""
    record = bytes.fromhex(vector["hex"])
    for length in range(RECORD_HEADER_BYTES):
        with pytest.raises(WireError, match="truncated"):
            parse_chunk(record[:length])


def test_reserved_byte_is_ignored() -> None:
    """A later version may use it."""
    record = bytearray.fromhex(VECTORS[0]["hex"])
    record[3] = 255
    assert parse_chunk(bytes(record)).id == id_of(VECTORS[0])


def test_the_next_chunk_is_known_from_the_end_of_segment_flag() -> None:
    """Numbers have no holes: so a missing chunk is noticed."""
    inside = make_chunk(ChunkId(Epoch(1), 1, 5, 3), Flag(0), 0, 1, 0, 1, 0)
    last = make_chunk(ChunkId(Epoch(1), 1, 5, 3), Flag.END_OF_SEGMENT, 0, 1, 0, 1, 0)
    assert inside.is_followed_by(ChunkId(Epoch(1), 1, 5, 4))
    assert not inside.is_followed_by(ChunkId(Epoch(1), 1, 6, 0))
    assert last.is_followed_by(ChunkId(Epoch(1), 1, 6, 0))
    assert not last.is_followed_by(ChunkId(Epoch(1), 1, 5, 4))
