"""How libav is asked, and what its errors mean."""

from __future__ import annotations

import av
import av.error
import pytest

from headrace.registry.feed_uri import parse_uri
from headrace_ingress.libav import explain, file_options, rtsp_options

URI = parse_uri("rtsp://operator:secret@camera.invalid/cam", trusted=True)


def errors() -> list[Exception]:
    """Every kind of error that libav has, with a text as libav's own."""
    kinds = [kind for kind in vars(av.error).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    made: list[Exception] = []
    for kind in kinds:
        if issubclass(kind, av.error.FFmpegError):
            made.append(kind(5, "Something", "rtsp://operator:secret@camera.invalid/cam"))
    return [*made, OSError(5, "Input/output error", URI.address), ValueError(URI.address)]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_reasons_hold_neither_credentials_nor_addresses(error: Exception) -> None:
    """Reasons are shown to viewers: they say what is wrong, and not where the source is."""
    reason = explain(error, URI)
    assert reason
    assert "secret" not in reason
    assert "camera" not in reason


def test_an_unknown_host_is_named_as_the_cause() -> None:
    """libav calls it an input/output error; what cannot be a name at all is one too."""
    for uri in (URI, parse_uri(f"rtsp://{'x' * 64}.example/cam", trusted=True)):
        assert "host name" in explain(OSError(5, "Input/output error"), uri)


def test_libav_may_only_do_what_is_needed() -> None:
    """Every source has a list of allowed protocols; TLS and clear text do not mix."""
    assert file_options(7)["protocol_whitelist"] == "fd"
    assert not {"hls", "concat", "dash", "sdp", "image2", "rtsp"} & set(file_options(7)["format_whitelist"].split(","))
    assert rtsp_options(URI, "udp")["protocol_whitelist"] == "rtsp,rtp,udp,tcp"
    secure = rtsp_options(parse_uri("rtsps://camera.invalid/cam", trusted=True), "udp")
    assert secure["rtsp_transport"] == "tcp"
    assert "udp" not in secure["protocol_whitelist"]
    assert "file" not in secure["protocol_whitelist"]
