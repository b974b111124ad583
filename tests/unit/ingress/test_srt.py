"""The pipe of the process that calls SRT listeners."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import threading
from collections.abc import Iterator

import pytest

from headrace_ingress.srt import SrtFile

NUMBER_MIN = 1024
"""Where select() ends: a process with some hundred viewers has numbers beyond it."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow this process file numbers beyond `NUMBER_MIN`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * NUMBER_MIN)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_file_numbers_may_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is read however many files the process has open."""

    def speak(command: list[str], stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        process = started(["echo", "media"], stdin=stdin, stdout=stdout, stderr=stderr)
        assert process.stdout is not None
        number = fcntl.fcntl(process.stdout, fcntl.F_DUPFD_CLOEXEC, NUMBER_MIN)
        process.stdout.close()
        process.stdout = os.fdopen(number, "rb")
        return process

    started = subprocess.Popen
    monkeypatch.setattr("headrace_ingress.srt.subprocess.Popen", speak)
    monkeypatch.setattr("headrace_ingress.srt.shutil.which", lambda program: program)
    caller = SrtFile("srt://127.0.0.1:9000", 5.0, threading.Event())
    try:
        assert caller.read(100) == b"media\n"
        assert caller.read(100) == b""
    finally:
        caller.close()
