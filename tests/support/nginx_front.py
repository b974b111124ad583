"""nginx in front of edges, run by the command in deploy/ as anybody would."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from headrace.testing import free_port, wait_until

COMMAND = Path(__file__).parents[2] / "deploy" / "nginx" / "cache.sh"

requires_nginx = pytest.mark.skipif(
    not all(shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for name in ("nginx", "openssl")),
    reason="nginx or openssl is not installed",
)
"""Marks a test that needs it."""


@asynccontextmanager
async def nginx_front(folder: Path, *edges: str) -> AsyncIterator[tuple[int, aiohttp.ClientSession]]:
    """Run nginx in front of `edges`, with its files in `folder`; yields its port and a client that trusts it."""
    port = free_port()
    settings = {**os.environ, "LISTEN": f"127.0.0.1:{port}", "FOLDER": str(folder)}
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), *edges, env=settings, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_until(lambda: _listens(port), timeout=20)
        trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=0)) as http:
            yield port, http
    finally:
        process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as dialled:
        return dialled.connect_ex(("127.0.0.1", port)) == 0
