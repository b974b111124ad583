"""Mutated media against the parsers of `headrace.media`: boxes, headers, fragments, parameter sets, ADTS, Opus.

Run by `feeds.py`; each function takes one input, and ends as `feeds.py` says.
"""

from __future__ import annotations

import random
import struct

from fuzz.mutating import mutated
from headrace.identifiers import ChunkId, Epoch
from headrace.media.bitstream import (
    AnnexBConverter,
    adts_to_config,
    is_adts,
    opus_samples,
    parse_aac_config,
    split_annexb,
    strip_adts,
)
from headrace.media.boxes import combine_headers, make_box, media_timescale, rewrite_header, strip_prft, track_id
from headrace.media.codecs import codec_string
from headrace.wire.chunk import Flag, make_chunk, parse_chunk
from headrace_ingress.tracks import merge_parameter_sets
from support.fragments import write_fragment

_VISUAL, _SOUND = bytes(78), bytes(28)
_ESDS = bytes.fromhex("00000000 03 19 000100 04 11 40150000000000000000000000 05 02 1190 06 01 02")

ENTRIES = [
    make_box("avc1", _VISUAL, make_box("avcC", bytes.fromhex("0142c01effe100046742c01e01000268ce"))),
    make_box("hvc1", _VISUAL, make_box("hvcC", bytes.fromhex("0101600000009000000000003cf000fcfdf8f800000f00"))),
    make_box("av01", _VISUAL, make_box("av1C", bytes.fromhex("81040c00"))),
    make_box("vp09", _VISUAL, make_box("vpcC", bytes.fromhex("01000000000a8202020200000000"))),
    make_box("mp4a", _SOUND, make_box("esds", _ESDS)),
    make_box("Opus", _SOUND, make_box("dOps", bytes(11))),
    make_box(".mp3", _SOUND),
]


def _header(entry: bytes, version: int) -> bytes:
    times, full = bytes(16 if version else 8), struct.pack(">I", version << 24)
    tkhd = make_box("tkhd", full, times, struct.pack(">I", 1), bytes(60))
    mdhd = make_box("mdhd", full, times, struct.pack(">II", 90_000, 0), bytes(4))
    stsd = make_box("stsd", bytes(4), struct.pack(">I", 1), entry)
    mdia = make_box("mdia", mdhd, make_box("minf", make_box("stbl", stsd)))
    trak = make_box("trak", tkhd, make_box("edts", make_box("elst", bytes(20))), mdia)
    trex = make_box("trex", bytes(4), struct.pack(">IIIII", 1, 1, 0, 0, 0))
    mvhd = make_box("mvhd", bytes(96), struct.pack(">I", 2))
    return make_box("ftyp", b"mp42" + bytes(4)) + make_box("moov", mvhd, trak, make_box("mvex", trex))


HEADERS = [_header(entry, version) for entry in ENTRIES for version in (0, 1)]
PAYLOAD = [b"one", b"two", b"three"]
FRAGMENTS = [
    write_fragment(1, 7, 158_724_000_000_000, [3600] * 3, [len(data) for data in PAYLOAD], sync, offsets, 1, 2)
    + b"".join(PAYLOAD)
    for sync in ([True, False, False], [True] * 3)
    for offsets in ([0, 0, 0], [3600, -3600, 7200])
]
RECORDS = [make_chunk(ChunkId(Epoch(1), 1, 2, 3), Flag(1), 90_000, 3600, 0, 3, 1, one).record for one in FRAGMENTS]
UNITS = [
    bytes.fromhex("00000001 67640028acd940780227e5c05a808080a0 00000001 68ebe3cb22c0 00000001 6588840021ffff"),
    bytes.fromhex("000001 09f0 000001 419a2464 00000000 000001 0c ff80"),
    bytes.fromhex("00000001 40010c01ffff 00000001 420101 00000001 4401c172b46240 00000001 2601af"),
]
SOUNDS = [
    bytes.fromhex("fff14c80019ffc") + bytes(5),
    bytes.fromhex("fff94c80025ffc0000") + bytes(9),
    bytes.fromhex("1190"),
    bytes.fromhex("2b920800"),
    bytes.fromhex("f8fffe"),
    bytes.fromhex("fb0200"),
]


def headers(chance: random.Random) -> None:
    """A header, as a muxer or another cluster wrote it."""
    data = mutated(chance.choice(HEADERS), chance, HEADERS)
    track_id(data)
    media_timescale(data)
    codec_string(rewrite_header(data, 3))
    combine_headers([rewrite_header(data, 3), HEADERS[0]])


def sample_entries(chance: random.Random) -> None:
    """The boxes that codec strings are read from."""
    codec_string(_header(mutated(chance.choice(ENTRIES), chance, ENTRIES), 0))


def fragments(chance: random.Random) -> None:
    """A chunk's media."""
    data = mutated(chance.choice(FRAGMENTS), chance, FRAGMENTS)
    assert len(strip_prft(data)) <= len(data)


def records(chance: random.Random) -> None:
    """A chunk record."""
    parse_chunk(mutated(chance.choice(RECORDS), chance, RECORDS))


def units(chance: random.Random) -> None:
    """Access units with start codes, and the parameter sets in them."""
    data, kind = mutated(chance.choice(UNITS), chance, UNITS), "h264" if chance.random() < 0.5 else "hevc"
    known = chance.choice(UNITS)
    AnnexBConverter("h264" if kind == "h264" else "hevc", known).convert(data)
    assert sum(map(len, split_annexb(data))) <= len(data)
    merged = merge_parameter_sets(kind, known, data)
    assert len(merged) <= 2 * (len(known) + len(data)) + 8


def sounds(chance: random.Random) -> None:
    """Frames of AAC with ADTS, AudioSpecificConfigs, packets of Opus."""
    data = mutated(chance.choice(SOUNDS), chance, SOUNDS)
    strip_adts(data)
    assert opus_samples(data) <= 63 * 2880
    parse_aac_config(adts_to_config(data) if is_adts(data) else data)
