"""The program of a worker: `python -m headrace_edge.workers.worker`, started by its node with a socket as its input."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from functools import partial

from headrace.errors import EXIT_FAILURE
from headrace.service.runtime import run
from headrace.service.settings import Settings
from headrace_edge.workers.app import build_worker
from headrace_edge.workers.line import receive_hello

ROLE = "worker"

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve viewers until the node says otherwise, or is gone."""
    if sys.platform == "linux":  # else one that is stopped when its node dies would never hear of it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)
    own = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    try:
        hello = receive_hello(own)
    except EOFError:
        sys.exit(EXIT_FAILURE)
    settings = Settings.model_validate(hello.settings)
    sys.exit(run("headrace-edge", ROLE, settings, partial(build_worker, hello, own)))


if __name__ == "__main__":
    main()
