"""Counters of a process, as it exports them for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping

from support.services import Service

LINE = re.compile(r"^(headrace_\w+|process_\w+)(\{.*?\})? (\S+)$", re.MULTILINE)

Sample = Mapping[str, float]
"""Values by name; those of one name with several labels are added up."""


def scrape(service: Service) -> Sample | None:
    """Return the values of a process, `None` when it does not answer."""
    if not service.is_running:
        return None
    try:
        text = service.get("/metrics")
    except (OSError, AssertionError):
        return None
    found: dict[str, float] = {}
    for name, _, value in LINE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def grown(before: Sample | None, after: Sample | None, name: str) -> int:
    """Return by how much a counter grew; a process that was started again counts from 0."""
    if after is None:
        return 0
    same = before is not None and before.get("process_start_time_seconds") == after.get("process_start_time_seconds")
    return int(after.get(name, 0) - (before.get(name, 0) if before is not None and same else 0))
