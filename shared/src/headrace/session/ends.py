"""What is told of a link whose channel was closed."""

from __future__ import annotations

from headrace.transport.channel import ABNORMAL, MESSAGE_TOO_LARGE


def words_of(code: int, reason: str, by_peer: bool) -> tuple[str, str]:
    """Return a short word for metrics and a sentence for the log; `reason` may be a stranger's.

    Args:
        code: of RFC 6455, section 7.4.
        reason: what was sent with it.
        by_peer: the other side closed, or the connection broke.
    """
    if code == ABNORMAL:
        return "connection_lost", "the connection was lost"
    who = "the peer closed the link" if by_peer else "closed by this node"
    detail = f"{who}: {code} {reason}".rstrip()
    if reason.replace("_", "").isalnum():
        return reason, detail
    if by_peer:
        return "peer_closed", detail
    # The WebSocket itself refused what came, and says why in a sentence of its own.
    return "too_large" if code == MESSAGE_TOO_LARGE else "bad_frame", detail
