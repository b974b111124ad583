"""AMF 0, the values of RTMP's commands ("Action Message Format -- AMF 0", Adobe 2007).

Numbers are floats, objects and ECMA arrays dicts, dates numbers of milliseconds. What no command needs (references,
record sets, AMF 3) is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from headrace_ingress.rtmp.errors import RtmpError

Value: TypeAlias = "float | bool | str | list[Value] | dict[str, Value] | None"

DEPTH_MAX: Final = 8
"""Deepest nesting: real commands have an object in an object."""

VALUES_MAX: Final = 1024
"""Most values in one message: real metadata have about forty."""

_NUMBER, _BOOLEAN, _STRING, _OBJECT = 0x00, 0x01, 0x02, 0x03
_NULL, _UNDEFINED, _ECMA_ARRAY, _OBJECT_END = 0x05, 0x06, 0x08, 0x09
_STRICT_ARRAY, _DATE, _LONG_STRING, _XML, _TYPED_OBJECT = 0x0A, 0x0B, 0x0C, 0x0F, 0x10


def decode(data: bytes) -> list[Value]:
    """Return the values that `data` holds.

    Raises:
        RtmpError: when it is cut off, holds a type that no command has, or more than is allowed.
    """
    reader = _Reader(data)
    values = []
    while reader.at < len(data):
        values.append(reader.value(0))
    return values


def split_string(data: bytes) -> tuple[str, bytes]:
    """Return the string that `data` begins with, and the rest.

    Raises:
        RtmpError: when it begins with anything else.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if not isinstance(value, str):
        raise RtmpError("amf", "a message that begins with no name")
    return value, data[reader.at :]


def encode(*values: Value) -> bytes:
    """Return `values` as AMF 0."""
    return b"".join(_encode(value) for value in values)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._count = 0
        self.at = 0

    def value(self, depth: int) -> Value:
        self._count += 1
        if depth > DEPTH_MAX or self._count > VALUES_MAX:
            raise RtmpError("amf", f"AMF with more than {VALUES_MAX} values, or {DEPTH_MAX} levels")
        marker = self._take(1)[0]
        if marker in {_OBJECT, _ECMA_ARRAY, _TYPED_OBJECT}:
            return self._object(marker, depth)
        if marker == _STRICT_ARRAY:
            return self._array(depth)
        read = _PLAIN.get(marker)
        if read is None:
            raise RtmpError("amf", f"AMF type {marker:#04x} is not known")
        return read(self)

    def number(self) -> float:
        return float(struct.unpack(">d", self._take(8))[0])

    def boolean(self) -> bool:
        return self._take(1) != b"\x00"

    def string(self) -> str:
        return self._text(int.from_bytes(self._take(2), "big"))

    def long_string(self) -> str:
        return self._text(int.from_bytes(self._take(4), "big"))

    def date(self) -> float:
        milliseconds = self.number()
        self._take(2)  # a time zone that is not to be used (2.13)
        return milliseconds

    def nothing(self) -> None:
        return None

    def _object(self, marker: int, depth: int) -> dict[str, Value]:
        if marker == _TYPED_OBJECT:
            self.string()
        if marker == _ECMA_ARRAY:
            self._take(4)  # how many there are, which is often wrong: the end marker counts
        found: dict[str, Value] = {}
        while True:
            name = self.string()
            if not name and self._data[self.at : self.at + 1] == bytes([_OBJECT_END]):
                self.at += 1
                return found
            found[name] = self.value(depth + 1)

    def _array(self, depth: int) -> list[Value]:
        count = int.from_bytes(self._take(4), "big")
        if count > VALUES_MAX:
            raise RtmpError("amf", f"an AMF array of {count} values")
        return [self.value(depth + 1) for _ in range(count)]

    def _text(self, length: int) -> str:
        return self._take(length).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) < count:
            raise RtmpError("amf", "AMF that is cut off")
        self.at += count
        return taken


_PLAIN: Final[dict[int, Callable[[_Reader], Value]]] = {
    _NUMBER: _Reader.number,
    _BOOLEAN: _Reader.boolean,
    _STRING: _Reader.string,
    _NULL: _Reader.nothing,
    _UNDEFINED: _Reader.nothing,
    _DATE: _Reader.date,
    _LONG_STRING: _Reader.long_string,
    _XML: _Reader.long_string,
}


def _encode(value: Value) -> bytes:
    if value is None:
        return bytes([_NULL])
    if isinstance(value, bool):
        return bytes([_BOOLEAN, value])
    if isinstance(value, (int, float)):
        return bytes([_NUMBER]) + struct.pack(">d", value)
    if isinstance(value, str):
        return bytes([_STRING]) + _name(value)
    if isinstance(value, list):
        return bytes([_STRICT_ARRAY]) + len(value).to_bytes(4, "big") + encode(*value)
    members = b"".join(_name(name) + _encode(member) for name, member in value.items())
    return bytes([_OBJECT]) + members + b"\x00\x00" + bytes([_OBJECT_END])


def _name(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
