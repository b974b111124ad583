"""Whose certificates the control API believes when it asks nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.clock import SystemClock
from headrace.errors import ConfigurationError
from headrace.registry.records import NodeRecord
from headrace_control_api.asking_nodes import HttpNodes
from headrace_control_api.authorities import Authorities
from support.certificates import Authority


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeRecord]:
    """A node whose certificate the authority `new` signed."""

    async def carried(request: web.Request) -> web.Response:
        return web.json_response({"node": "n1", "routes": {"cam1": ["n1"]}})

    app = web.Application()
    app.router.add_get("/carried", carried)
    server = TestServer(app, scheme="https", host="127.0.0.1")
    await server.start_server(ssl=Authority(tmp_path, "new").serving("127.0.0.1"))
    yield NodeRecord(node="n1", role="edge", relay_url=f"wss://127.0.0.1:{server.port}/relay")
    await server.close()


async def test_the_file_is_read_again(node: NodeRecord, tmp_path: Path) -> None:
    """An authority that takes the place of another is believed without a restart; what is none changes nothing."""
    file = tmp_path / "ca.pem"
    file.write_bytes(Authority(tmp_path, "old").file.read_bytes())
    authorities = Authorities(file)
    nodes = HttpNodes("a secret", SystemClock(), authorities)
    assert await nodes.routes([node]) == {}
    file.write_bytes(b"# \xc3\x84mter\n" + (tmp_path / "new.pem").read_bytes())
    assert await nodes.routes([node]) == {"n1": {"cam1": ["n1"]}}
    assert (authorities.problem or "") == ""
    file.write_text("half written")
    assert (authorities.problem or "").startswith("relay.ca_file: ")
    assert await nodes.routes([node]) == {"n1": {"cam1": ["n1"]}}
    await nodes.close()


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    """At the start it must be right."""
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(ConfigurationError, match=r"^relay\.ca_file: "):
        Authorities(tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match=r"^relay\.ca_file: "):
        Authorities(tmp_path / "nowhere.pem")
