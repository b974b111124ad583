"""SRT's stream ids: what they may be, and that nothing else gets by."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import stream_name
from headrace.transport.libsrt import pack_address, unpack_address
from headrace_ingress.admission import PublishRefused
from headrace_ingress.streamid import STREAMID_MAX_CHARACTERS, parse_streamid

PARTS = st.sampled_from(
    ["#!:", ":", "{", "r=", "m=publish", "t=stream", "s=key", "u=x", ",", "=", "cam1", "?key=", "é"]
)


@pytest.mark.parametrize(
    ("text", "stream", "key"),
    [
        ("cam1", "cam1", ""),
        ("site/cam1?key=correct-horse", "site/cam1", "correct-horse"),
        ("#!::r=cam1,m=publish", "cam1", ""),
        ("#!::m=publish,r=cam1,s=correct-horse,u=operator,h=example.org,t=stream", "cam1", "correct-horse"),
        ("#!::r=cam1?key=correct-horse,m=publish", "cam1", "correct-horse"),
        ("#!::r=cam1,m=publish,acme_site=9,s=", "cam1", ""),
    ],
)
def test_what_is_meant(text: str, stream: str, key: str) -> None:
    """The bare name and the standard keys, each with a key or without."""
    target = parse_streamid(text)
    assert (target.stream, target.key) == (stream, key)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "name"),
        ("../etc", "name"),
        ("x" * (STREAMID_MAX_CHARACTERS + 1), "name"),
        ("#!:", "name"),
        ("#!:{r=cam1,m=publish}", "name"),
        ("#!::r=cam1,r=cam2,m=publish", "name"),
        ("#!::m=publish", "name"),
        ("#!::r=cam1,m=publish,", "name"),
        ("#!::r=cam1", "mode"),
        ("#!::r=cam1,m=request", "mode"),
        ("#!::r=cam1,m=bidirectional", "mode"),
        ("#!::r=cam1,m=publish,t=file", "mode"),
    ],
)
def test_what_is_refused(text: str, code: str) -> None:
    """Whoever wants something else is told so; the sentence holds nothing of what was given."""
    with pytest.raises(PublishRefused) as refused:
        parse_streamid(text)
    assert refused.value.code == code
    assert "cam" not in str(refused.value)


@given(
    st.text(max_size=600)
    | st.lists(PARTS, max_size=20).map("".join)
    | st.lists(PARTS).map(lambda p: "#!::" + "".join(p))
)
def test_any_text(text: str) -> None:
    """A stream's name comes out, or the one documented refusal."""
    with contextlib.suppress(PublishRefused):
        target = parse_streamid(text)
        assert stream_name(target.stream) == target.stream


@given(st.ip_addresses(), st.integers(1, 65535))
def test_addresses(address: object, port: int) -> None:
    """Addresses are packed as the system's C library has them, and read back."""
    family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
    packed = pack_address(family, (str(address), port, 0, 0))
    assert packed[2:4] == port.to_bytes(2, "big")
    assert len(packed) == (28 if family == socket.AF_INET6 else 16)
    expected = socket.inet_ntop(family, socket.inet_pton(family, str(address)))
    assert unpack_address(packed + bytes(16)) == expected
