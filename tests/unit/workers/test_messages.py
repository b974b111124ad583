"""What a node and its workers say to each other, as bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.licences import Licence
from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.rules import AccessRules
from headrace.access.viewing import Answer as Seated
from headrace.access.viewing import Ends, Seat
from headrace.registry.records import NodeRecord, StreamRecord
from headrace_edge.workers.messages import (
    MESSAGE_MAX_BYTES,
    Answer,
    Ask,
    Family,
    Framing,
    Hello,
    Others,
    Report,
    Sample,
    View,
    decode_from_node,
    decode_from_worker,
    encode_message,
)

FROM_NODE = [
    Hello({"edge": {"port": 1}}, "edge-1", "edge-1.1.ab", "ws://127.0.0.1:1/relay", "hush"),
    View(
        nodes=(NodeRecord(node="edge-1", role="edge", streams=("cam1",)),),
        gone_nodes=("edge-2",),
        streams=(StreamRecord(stream="cam1", node="ingress-1", epoch=1, state="live"),),
        gone_streams=("cam2",),
    ),
    Others(7),
    Answer(3, b"\x01", "away", "the store is away"),
]
FROM_WORKER = [
    Ask(3, "ends", b"\xc0"),
    Report(1, 2, {"viewer tokens": "no keys"}, (Family("a", "gauge", "A.", (Sample("a", {"x": "y"}, 1.5),)),)),
]


@pytest.mark.parametrize("message", FROM_NODE)
def test_what_the_node_says_arrives(message: Hello | View | Others | Answer) -> None:
    """Each message is what it was."""
    (body,) = Framing().feed(encode_message(message))
    assert decode_from_node(body) == message


@pytest.mark.parametrize("message", FROM_WORKER)
def test_what_a_worker_says_arrives(message: Ask | Report) -> None:
    """Each message is what it was."""
    (body,) = Framing().feed(encode_message(message))
    assert decode_from_worker(body) == message


@given(st.lists(st.integers(0, 200), max_size=5), st.integers(1, 50))
def test_messages_arrive_whole_however_they_are_cut(sizes: list[int], step: int) -> None:
    """A stream of bytes has no borders but the lengths."""
    sent = [Ask(size, "x" * size, bytes(size)) for size in sizes]
    stream = b"".join(map(encode_message, sent))
    framing = Framing()
    parts = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert [decode_from_worker(body) for part in parts for body in framing.feed(part)] == sent


def test_a_length_that_cannot_be_is_refused() -> None:
    """Nobody waits for that many bytes."""
    with pytest.raises(ValueError, match="bytes"):
        list(Framing().feed((MESSAGE_MAX_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Seat("t1", "s1", "edge-1.1/1", 3), Seat),
        ([Seated.HELD, Seated.TAKEN], list[Seated]),
        (Ends({"t1": 2.0}, {"v": 3.0}, 4), Ends),
        (AudienceChange([ViewerRecord(id="v", stream="a", door="play", since_us=1)], ("w",), Counts(), True, 1), None),
        (
            AccessRules(
                2, (Licence(key="k", kind="test", days=1, watchers_max=None, activations_left=1),), {"a*": "token"}
            ),
            None,
        ),
    ],
)
def test_what_gates_ask_and_are_told_survives(value: object, kind: type | None) -> None:
    """Questions and answers are encoded by themselves, and are what they were."""
    back: object = msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind or type(value))
    assert msgspec.msgpack.encode(back) == msgspec.msgpack.encode(value)
