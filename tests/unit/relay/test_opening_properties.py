"""Whoever is let in has proved a secret that the other side knows, and gets what that secret's key covers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.relay.credentials import Credential, Identity, host_of
from headrace.relay.protocol import RelayConnection
from unit.relay.pair import Pair

KEYS = st.sampled_from(["k1", "k2", "k3"])
PATTERNS = st.lists(st.sampled_from(["*", "site7/*", "gate"]), max_size=2, unique=True).map(tuple)
CREDENTIALS = st.builds(
    Credential,
    KEYS,
    st.sampled_from([b"one secret", b"another one"]),
    st.sampled_from([("*",), ("edge",), ("ingress", "edge")]),
    PATTERNS,
    PATTERNS,
)
ROLES = st.sampled_from(["edge", "ingress"])


@st.composite
def identities(draw: st.DrawFn, node: str) -> Identity:
    """What a node brings whose own key is among those that it knows, as every file has it."""
    known = {credential.key: credential for credential in draw(st.lists(CREDENTIALS, min_size=1, max_size=3))}
    own = draw(st.sampled_from(sorted(known.values(), key=lambda one: one.key)))
    return Identity(node, draw(ROLES), own, known)


def rights(of: Identity, at: Identity) -> Credential | None:
    """Return what `of` may do at `at` by the text of docs/protocol.md, section 4.2; `None` when it is refused."""
    known = at.accepted.get(of.own.key)
    if known is not None:
        return known if known.secret == of.own.secret and known.may_be(of.role) else None
    other = of.accepted.get(at.own.key)
    return host_of(at.own) if other is not None and other.secret == at.own.secret else None


@given(identities("a"), identities("b"))
def test_who_is_let_in_and_what_it_may_do(a: Identity, b: Identity) -> None:
    """By the keys that each side holds, whatever they are."""
    pair = Pair(a, b)
    pair.pump()

    def granted(side: RelayConnection) -> Credential | None:
        return side.peer_credential

    assert granted(pair.a) == rights(b, a)
    assert granted(pair.b) == rights(a, b)
