"""What a publisher can do wrong."""

from __future__ import annotations

from headrace_ingress.broken import ProtocolBroken


class RtspError(ProtocolBroken):
    """RTSP was not followed; its codes are `request`, `too_large` and `sdp`."""
