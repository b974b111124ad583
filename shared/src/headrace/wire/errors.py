"""How reading bytes from somebody else may fail."""

from __future__ import annotations


class WireError(Exception):
    """Bytes that do not follow docs/protocol.md; the peer's fault, and the end of its connection only.

    Attributes:
        code: a short word for metrics and close reasons, for example `truncated`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
