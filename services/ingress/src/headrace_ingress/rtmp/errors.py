"""What a publisher can do wrong."""

from __future__ import annotations


class RtmpError(Exception):
    """The peer does not follow RTMP, or wants more than is allowed: the connection ends.

    Attributes:
        code: which rule it broke, for metrics: `handshake`, `chunk`, `too_large`, `amf` or `command`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
