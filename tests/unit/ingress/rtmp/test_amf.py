"""AMF 0: what is written is read, and what is wrong is refused."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as some

from headrace_ingress.rtmp.amf import Value, decode, encode, split_string
from headrace_ingress.rtmp.errors import RtmpError

names = some.text(max_size=20)
plain = some.none() | some.booleans() | some.floats(allow_nan=False) | names
values = some.recursive(
    plain,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(names.filter(bool), inner, max_size=4),
    max_leaves=12,
)


@given(some.lists(values, max_size=4))
def test_what_is_written_is_read(sent: list[Value]) -> None:
    """Any nest of values comes back as it was, surrogates and all text being UTF-8."""
    assert decode(encode(*sent)) == sent


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("00 4059000000000000", [100.0]),
        ("01 01", [True]),
        ("02 0003 616263", ["abc"]),
        ("05", [None]),
        ("06", [None]),
        ("08 0000ffff 0001 61 05 0000 09", [{"a": None}]),
        ("10 0001 58 0001 61 01 00 0000 09", [{"a": False}]),
        ("0a 00000002 05 01 01", [[None, True]]),
        ("0b 4059000000000000 0000", [100.0]),
        ("0c 00000001 61", ["a"]),
        ("0f 00000001 61", ["a"]),
        ("02 0001 ff", ["\ufffd"]),
    ],
)
def test_every_type(data: str, expected: list[Value]) -> None:
    """The bytes of the specification's examples, one of each type."""
    assert decode(bytes.fromhex(data)) == expected


@pytest.mark.parametrize(
    "data",
    [
        "00 40",
        "02 ffff 61",
        "0c ffffffff 61",
        "03 0001 61",
        "03 0001 61 05",
        "0a ffffffff",
        "0a 00000004 05",
        "07 0000",
        "11 01",
        "0d",
        "03" + "0001 61 03" * 9,
        "05" * 1025,
    ],
)
def test_what_is_wrong(data: str) -> None:
    """Cut off, lengths that are lies, unknown types, too deep, too many: an error and nothing else."""
    with pytest.raises(RtmpError) as error:
        decode(bytes.fromhex(data))
    assert error.value.code == "amf"


@given(some.binary(max_size=200))
def test_anything_else(data: bytes) -> None:
    """Whatever comes is values or an error."""
    try:
        decode(data)
        split_string(data)
    except RtmpError:
        event("refused")
