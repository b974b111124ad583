"""SRT by an ffmpeg process, since libav as PyAV brings it has none: MPEG-TS comes out of a pipe.

ffmpeg calls the one address that was checked, copies what it gets and may use nothing else. It ends when we close the
pipe, whatever becomes of this process.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
import time
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from headrace_ingress.source import SourceBroken

LOOK_SECONDS: Final = 0.2
"""How often a wait for media looks whether it is to stop."""

END_SECONDS: Final = 2.0
"""How long a killed process may take to be gone."""

PARAMETERS: Final = ("streamid", "latency")
"""What a URI may ask for: who is meant, and how many milliseconds lost packets are waited for."""


class SrtFile:
    """What a caller receives, as a file for libav.

    Args:
        address: `srt://host:port?streamid=…&latency=…`, checked.
        stall_seconds: longest silence.
        stopping: ends every wait.

    Raises:
        SourceBroken: when there is no ffmpeg, or the address asks for what cannot be had.
    """

    def __init__(self, address: str, stall_seconds: float, stopping: threading.Event) -> None:
        self._stall_seconds = stall_seconds
        self._stopping = stopping
        command = [_program(), "-nostdin", "-hide_banner", "-loglevel", "quiet"]
        command += ["-protocol_whitelist", "srt", "-fflags", "nobuffer", "-analyzeduration", "500000"]
        command += ["-f", "mpegts", "-i", call(address), "-map", "0", "-c", "copy", "-flush_packets", "1"]
        command += ["-protocol_whitelist", "pipe", "-f", "mpegts", "pipe:1"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def read(self, most: int) -> bytes:
        """Return from 1 to `most` bytes, nothing at the end or when it is time to stop.

        Raises:
            TimeoutError: when nothing came for too long.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        poll = select.poll()  # select() itself takes no file numbers above 1023
        poll.register(pipe, select.POLLIN)
        deadline = time.monotonic() + self._stall_seconds
        while not self._stopping.is_set():
            if poll.poll(LOOK_SECONDS * 1000):
                return os.read(pipe, most)
            if time.monotonic() > deadline:
                raise TimeoutError
        return b""

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self._process.kill()
        self._process.wait(END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


def call(address: str) -> str:
    """Return ffmpeg's address of a caller.

    Raises:
        SourceBroken: when it asks for more than is known, or for a passphrase.
    """
    parts = urlsplit(address)
    try:
        found = parse_qs(parts.query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise SourceBroken("an SRT address with too many parameters") from None
    asked = {name: values[0] for name, values in found.items()}
    if "passphrase" in asked:
        raise SourceBroken("a passphrase for SRT would stand in this machine's list of processes, so it is not taken")
    if asked.get("mode", "caller") != "caller":
        raise SourceBroken("an SRT source calls; it does not listen")
    if set(asked) - {*PARAMETERS, "mode"}:
        raise SourceBroken(f"an SRT address may have the parameters {' and '.join(PARAMETERS)} and no others")
    query = "".join(f"&{name}={quote(asked[name], safe='')}" for name in PARAMETERS if name in asked)
    return f"srt://{parts.netloc.rpartition('@')[2]}?mode=caller{query}"


def _program() -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise SourceBroken("SRT needs the program ffmpeg, and there is none on this machine")
    return program
