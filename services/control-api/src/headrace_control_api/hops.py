"""Streams on their way, made from what nodes told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace_control_api.asking_nodes import Carried
from headrace_control_api.models import HopView, MeasuredView, ParentView, TrackBitrate


def measured(carried: Iterable[Carried]) -> MeasuredView:
    """Return a stream as its nodes measured it, the nearest to the source first; bitrates are those of the nearest."""
    found = sorted(carried, key=lambda each: (len(each.route), each.node))
    ages = {each.node: each.age_seconds for each in found}
    bits = next((each.bitrates for each in found if each.bitrates), {})
    return MeasuredView(
        bitrate=sum(bits.values()),
        tracks=[TrackBitrate(track=track, bitrate=value) for track, value in sorted(bits.items())],
        hops=[_hop(each, ages) for each in found],
    )


def parents(routes: Mapping[str, Mapping[str, list[str]]]) -> dict[str, list[ParentView]]:
    """Return by stream whom each node has it from, of the routes that nodes told."""
    found: dict[str, list[ParentView]] = {}
    for node, by_stream in sorted(routes.items()):
        for stream, route in by_stream.items():
            parent = parent_of(node, route)
            if parent is not None:
                found.setdefault(stream, []).append(ParentView(node=node, parent=parent))
    return found


def parent_of(node: str, route: list[str]) -> str | None:
    """Return whom a node has a stream from; `None` where the source is, or before a route is known."""
    before = route[:-1] if route and route[-1] == node else route
    return before[-1] if before else None


def _hop(carried: Carried, ages: Mapping[str, float | None]) -> HopView:
    parent = parent_of(carried.node, carried.route)
    own, above = carried.age_seconds, ages.get(parent or "")
    return HopView.model_validate(
        {
            "node": carried.node,
            "parent": parent,
            "route": carried.route,
            "state": carried.state.value,
            "age_seconds": own,
            "added_seconds": None if own is None or above is None else round(own - above, 4),
        }
    )
