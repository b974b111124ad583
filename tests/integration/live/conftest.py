"""An edge on real sockets whose streams are cut by the real packager."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from integration.edge.rig import EdgeRig


@pytest.fixture
async def rig() -> AsyncIterator[EdgeRig]:
    """An edge with nothing published on it yet."""
    async with EdgeRig(window_seconds=60.0) as rig:
        yield rig


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        yield session
