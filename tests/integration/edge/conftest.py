"""An edge on real sockets, fed with a synthetic stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from integration.edge.rig import EdgeRig


@pytest.fixture
async def rig() -> AsyncIterator[EdgeRig]:
    """An edge that serves the stream `demo`, and nothing published on it yet."""
    async with EdgeRig() as rig:
        yield rig


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session
