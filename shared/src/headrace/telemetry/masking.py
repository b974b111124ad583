"""Keeping credentials out of everything that people or files get to see."""

from __future__ import annotations

import re

MASK = "***"
"""What stands where a secret was."""

_USERINFO = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,31}://)[^\s/?#]*@")
_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:[\w.-]*(?:token|secret|passw|passphrase|credential)[\w.-]*"
    r"|(?:[\w.-]*[_.-])?(?:key|apikey|pwd|pass|auth|sig|sign|signature|streamid))=)[^&;#\s\"']+",
    re.IGNORECASE,
)
_TICKET = re.compile(r"(?P<session>/~[A-Za-z0-9_-]{1,64}~)[^/?#\s\"']+", re.ASCII)
"""Viewing session and token in a path (`headrace_edge.live.tickets`)."""
_SECRET_NAME = re.compile(r"secret|passw|passphrase|token|authorization|credential|cookie", re.IGNORECASE)


def mask_uris(text: str) -> str:
    """Return `text` with user names, passwords, secret parameters and tokens of every URI in it replaced by `***`."""
    masked = _PARAMETER.sub(rf"\g<name>{MASK}", _USERINFO.sub(rf"\g<scheme>{MASK}@", text))
    return _TICKET.sub(rf"\g<session>{MASK}", masked)


def is_secret_name(name: str) -> bool:
    """Return whether a value of this name must not be shown, whatever it is."""
    return _SECRET_NAME.search(name) is not None
