"""How media travel: the header Transport (RFC 2326, 12.39; RFC 7826, 18.54)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

OFFERS_MAX: Final = 8
"""Most ways to travel that one header may offer."""

_PAIR = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Between the messages of the connection.

    Attributes:
        channels: of RTP and of RTCP, `None` where the server may choose.
    """

    channels: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Datagrams:
    """By UDP.

    Attributes:
        ports: of the client, for RTP and for RTCP.
    """

    ports: tuple[int, int]


Way = Interleaved | Datagrams


def choose_way(header: str, *, may_use_udp: bool) -> Way | None:
    """Return the first way of a header that can be gone with a publisher, `None` when there is none."""
    for offer in header.split(",")[:OFFERS_MAX]:
        protocol, *parameters = (part.strip() for part in offer.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        mode = values.get("mode", "record").strip('"').lower()
        if mode not in {"record", "receive"} or "multicast" in values:
            continue
        if protocol.upper() == "RTP/AVP/TCP":
            if "interleaved" not in values:
                return Interleaved(None)
            if (channels := _pair(values["interleaved"], 255)) is not None:
                return Interleaved(channels)
        if protocol.upper() in {"RTP/AVP", "RTP/AVP/UDP"} and may_use_udp:
            ports = _pair(values.get("client_port", ""), 65535)
            if ports is not None and ports[0] > 0:
                return Datagrams(ports)
    return None


def _pair(text: str, most: int) -> tuple[int, int] | None:
    found = _PAIR.fullmatch(text)
    if found is None:
        return None
    first = int(found[1])
    second = int(found[2]) if found[2] else first + 1
    return (first, second) if first != second and max(first, second) <= most else None
