"""What a node and its workers say to each other over the socket between them. Pure.

A message is its length, 4 bytes big-endian, and as many bytes of MessagePack. Media do not travel here: workers take
them over a link, as any node does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from headrace.registry.records import NodeRecord, StreamRecord

LENGTH: Final = struct.Struct(">I")

MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Longest message: the view of a cluster with 10,000 streams has some 5 MB."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first thing that a worker is told: all that it needs to begin.

    Attributes:
        settings: of the node, plain, secrets included.
        node: the node's id, which is the worker's to viewers.
        name: tells this worker from all others, those before it included.
        relay_url: where it takes its streams.
        secret: proves there that it is one of the node's own.
    """

    settings: dict[str, Any]
    node: str
    name: str
    relay_url: str
    secret: str


class View(msgspec.Struct, frozen=True, tag="view"):
    """What changed in the node's view of the cluster since it was told last."""

    nodes: tuple[NodeRecord, ...] = ()
    gone_nodes: tuple[str, ...] = ()
    streams: tuple[StreamRecord, ...] = ()
    gone_streams: tuple[str, ...] = ()


class Others(msgspec.Struct, frozen=True, tag="others"):
    """How many viewers the node's other workers have."""

    viewers: int


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What was asked, answered.

    Attributes:
        id: of the question.
        result: encoded by itself; empty when there is none.
        error: why there is none: `away`, when the store does not answer, `full` or `failed`; empty when all is well.
        reason: for people.
    """

    id: int
    result: bytes = b""
    error: str = ""
    reason: str = ""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A worker asks.

    Attributes:
        id: counted by the worker.
        what: the question.
        about: what it is about, encoded by itself.
    """

    id: int
    what: str
    about: bytes


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One figure of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric of a worker, with all its figures."""

    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...]


class Report(msgspec.Struct, frozen=True, tag="report"):
    """How a worker is doing, told every second.

    Attributes:
        viewers: at its doors.
        demands: how many want streams of it.
        problems: what is wrong, by check.
        families: what it counts.
    """

    viewers: int
    demands: int
    problems: dict[str, str]
    families: tuple[Family, ...]


FromNode = Hello | View | Others | Answer
FromWorker = Ask | Report

_encoder = msgspec.msgpack.Encoder()
_from_node: msgspec.msgpack.Decoder[FromNode] = msgspec.msgpack.Decoder(FromNode)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def encode_message(message: FromNode | FromWorker) -> bytes:
    """Return a message as it travels, length included."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_from_node(body: bytes) -> FromNode:
    """Return what a node said."""
    return _from_node.decode(body)


def decode_from_worker(body: bytes) -> FromWorker:
    """Return what a worker said."""
    return _from_worker.decode(body)


class Framing:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bodies of the messages that are whole now.

        Raises:
            ValueError: when one is longer than `MESSAGE_MAX_BYTES`.
        """
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > MESSAGE_MAX_BYTES:
                raise ValueError(f"a message of {length} bytes")
            if len(self._buffer) < LENGTH.size + length:
                return
            body = bytes(self._buffer[LENGTH.size : LENGTH.size + length])
            del self._buffer[: LENGTH.size + length]
            yield body
