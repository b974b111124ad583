"""Viewing sessions in paths: `/live/~{session}~{token}/{stream}/…` is `/live/{stream}/…` for one viewer. Pure.

What playlists and manifests name is relative to them, so a player that was sent to such an address once takes session
and token along to every request, whatever player it is; and all viewers get the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TICKET = re.compile(r"~(?P<session>[A-Za-z0-9_-]{1,64})~(?P<token>[A-Za-z0-9._~-]{0,4096})/(?P<rest>.+)", re.ASCII)
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{0,4096}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asks.

    Attributes:
        session: the viewing session.
        token: as given, may be empty.
    """

    session: str
    token: str

    def __str__(self) -> str:
        return f"~{self.session}~{self.token}"


def split_ticket(path: str) -> tuple[Ticket | None, str]:
    """Return the ticket that a path below `/live/` begins with, `None` when there is none, and the rest of it."""
    match = _TICKET.fullmatch(path)
    return (None, path) if match is None else (Ticket(match["session"], match["token"]), match["rest"])


def make_ticket(session: str, token: str) -> Ticket | None:
    """Return a ticket; `None` when the token has characters that no path carries as they are."""
    return Ticket(session, token) if _TOKEN.fullmatch(token) else None


def is_session(text: str) -> bool:
    """Return whether a player may name its session so."""
    return _SESSION.fullmatch(text) is not None


def ticketed_location(raw_path: str, query: str, ticket: Ticket) -> str:
    """Return where a player that asked for `raw_path`, which begins with `/live/`, goes with its ticket.

    The reference is relative, so that it holds behind a proxy that puts all this below another path.
    """
    rest = raw_path.removeprefix("/live/")
    return "../" * rest.count("/") + f"{ticket}/{rest}" + (f"?{query}" if query else "")
