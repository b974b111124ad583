"""Every port of Headrace that speaks HTTP names the requests it answers."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

GIVEN = "proxy:7"


def named(url: str) -> str:
    """Return the name in the answer to a request that came with one."""
    request = urllib.request.Request(url, headers={"X-Request-Id": GIVEN})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.headers["X-Request-Id"])
    except urllib.error.HTTPError as error:
        return str(error.headers["X-Request-Id"])


def test_every_port_names_its_requests(up: Callable[..., Any]) -> None:
    """Pages, probes, the API, the publishers' door and plain fMP4; and the log says it of what was asked of the API."""
    running = up("--demo")
    running.wait_for(lambda: running.events("feed_live"), "the feed")
    ports = {line["name"]: line["address"] for line in running.events("listening")}
    assert {"edge", "fmp4", "ingress", "control-api"} <= set(ports)
    for name in ("edge", "ingress", "control-api"):
        assert named(f"http://{ports[name]}/health/live") == GIVEN, name
    assert named(f"http://{ports['fmp4']}/demo") == GIVEN
    assert named(f"{running.edge}/live/demo/index.m3u8") == GIVEN
    assert named(f"{running.edge}/nowhere") == GIVEN
    request = urllib.request.Request(f"{running.api}/api/v1/nodes/{'x' * 5}/drain", method="DELETE")
    request.add_header("X-Request-Id", GIVEN)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, timeout=20)
    running.wait_for(lambda: running.events("api_request", request_id=GIVEN, status=404), "the line")
