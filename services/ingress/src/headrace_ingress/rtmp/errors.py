"""What a publisher can do wrong."""

from __future__ import annotations

from headrace_ingress.broken import ProtocolBroken


class RtmpError(ProtocolBroken):
    """RTMP was not followed; its codes are `handshake`, `chunk`, `too_large`, `amf` and `command`."""
