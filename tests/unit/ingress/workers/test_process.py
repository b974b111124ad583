"""What a worker that crashed has said of it."""

from __future__ import annotations

import subprocess
import sys

from headrace_ingress.workers.pool import describe
from headrace_ingress.workers.process import Crash, parse_crash

CRASHES = """
import ctypes, faulthandler, sys, threading
faulthandler.enable(sys.stdout)
def reading():
    print(threading.get_ident(), flush=True)
    ctypes.string_at(0)
def feeding():
    reading()
others = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
for other in others:
    other.start()
threading.Thread(target=feeding).start()
threading.Event().wait()
"""


def test_the_thread_that_crashed() -> None:
    """It is found among others in what the interpreter writes, with where it was."""
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, check=False)
    assert describe(done.returncode) == "signal SIGSEGV"
    thread, _, report = done.stdout.partition("\n")
    crash = parse_crash(report)
    assert crash.thread == int(thread)
    assert crash.trace.startswith("__init__.py:")
    assert " string_at, <string>:6 reading, <string>:8 feeding, " in crash.trace


def test_no_report() -> None:
    """A process that was killed says nothing; what is no report is none."""
    assert parse_crash("") == parse_crash("Current thread of thought\n") == Crash()
    assert describe(-9) == "signal SIGKILL"
    assert describe(-64) in {"signal 64", "signal SIGRTMAX"}
    assert describe(1) == "exit code 1"
