"""VLC, GStreamer and FFmpeg as a test's players of HLS and DASH, without a screen and at real speed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.testing import free_port

START_SECONDS = 40.0
"""Longest wait for the first picture: a busy machine reads plugins for ten seconds."""

STALL_SECONDS = 3.0
"""For how long a position may stand still: VLC tells it in whole seconds."""

NOBODY = 65534
"""VLC does not run as root, as tests do in containers."""

requires_native_players = pytest.mark.skipif(
    shutil.which("cvlc") is None or shutil.which("ffmpeg") is None, reason="VLC or FFmpeg is not installed"
)
"""Marks a test that needs them."""


@dataclass(frozen=True)
class Played:
    """How playing went.

    Attributes:
        seconds: of media that were played.
        stalls: how often it stood still.
        lost: pictures and pieces of sound that came too late.
        problem: what ended it early, if anything did.
    """

    seconds: float
    stalls: int
    lost: int
    problem: str = ""


async def play_in_vlc(url: str, seconds: float) -> Played:
    """Play with VLC, asked about its position and its statistics by its remote control."""
    port = free_port()
    async with _vlc(url, port) as process:
        reader, writer = await _connected(port)
        try:
            began = await _position(reader, writer, process, above=0)
            last, changed_at, stalls = began, _now(), 0
            while last - began < seconds and process.returncode is None:
                await asyncio.sleep(0.25)
                position = await _position(reader, writer, process)
                if position > last:
                    last, changed_at = position, _now()
                elif _now() - changed_at > STALL_SECONDS:
                    stalls, changed_at = stalls + 1, _now()
                    if stalls > 5:
                        break
            text = await _ask(reader, writer, "stats", until="end of statistical info")
        finally:
            writer.close()
    lost = sum(int(number) for number in re.findall(r"(?:frames|buffers) lost\s*:\s*(\d+)", text))
    return Played(last - began, stalls, lost)


@contextlib.asynccontextmanager
async def _vlc(url: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
        options = ["-I", "dummy", "--extraintf", "rc", "--rc-host", f"127.0.0.1:{port}", "--no-dbus"]
        process = await asyncio.create_subprocess_exec(
            *user, "cvlc", *options, "--vout", "dummy", "--aout", "dummy", url,
            env={**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home}, cwd=home,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(START_SECONDS):
        while True:
            with socket.socket() as dialled:
                if dialled.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.2)
    return await asyncio.open_connection("127.0.0.1", port)


async def _position(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: asyncio.subprocess.Process, above: int = -1
) -> int:
    """Return the position in seconds, once it is greater than `above`."""
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            text = await _ask(reader, writer, "get_time", until="\n")
            found = re.search(r"(\d+)\s*$", text.strip())
            if found and int(found[1]) > above:
                return int(found[1])
            await asyncio.sleep(0.2)
    raise AssertionError("VLC ended")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, until: str) -> str:
    writer.write(f"{command}\n".encode())
    text = ""
    async with asyncio.timeout(10):
        while until not in text or not text.strip("> \r\n"):
            text += (await reader.readline()).decode(errors="replace")
            if "`help'" in text:  # its greeting
                text = ""
    return text


async def play_in_gstreamer(url: str, seconds: float) -> Played:
    """Play with playbin3 into sinks that keep time, in the system's Python."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", str(Path(__file__).with_name("gst_play.py")), url, str(seconds),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds + START_SECONDS + 60):
            written, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    seen = json.loads(written.splitlines()[-1])
    return Played(seen["played"], seen["stalls"], seen["late"], seen["error"])


async def play_in_ffmpeg(url: str, seconds: float) -> Played:
    """Decode with FFmpeg, which takes a live stream as it comes: a stall is a time of its own without progress.

    It begins DASH a minute before the end, so that is played at its own speed.
    """
    speed = ["-re"] if url.endswith(".mpd") else []
    process = await asyncio.create_subprocess_exec(
        "ffmpeg", "-v", "error", "-progress", "pipe:1", *speed, "-i", url, "-t", str(seconds), "-f", "null", "-",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.ensure_future(process.stderr.read())
    position, changed_at, stalls = 0.0, 0.0, 0
    try:
        async with asyncio.timeout(seconds + START_SECONDS):
            async for line in process.stdout:
                name, _, value = line.decode().strip().partition("=")
                if name != "out_time_us" or not value.isdigit() or int(value) / 1e6 <= position:
                    continue
                # A segment comes every two seconds, and the next one may be late by a poll of the playlist.
                stalls += bool(changed_at and _now() - changed_at > 2 * STALL_SECONDS)
                position, changed_at = int(value) / 1e6, _now()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    return Played(position, stalls, 0, (await complaints).decode().strip())


def _now() -> float:
    return asyncio.get_running_loop().time()
