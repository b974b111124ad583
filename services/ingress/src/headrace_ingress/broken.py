"""What publishers can do wrong, whatever protocol they speak."""

from __future__ import annotations


class ProtocolBroken(Exception):
    """The peer does not follow its protocol, or wants more than is allowed: the connection ends.

    Attributes:
        code: which rule it broke, for metrics.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
