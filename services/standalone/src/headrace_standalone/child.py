"""What runs first in a child process: it sees to it that no child outlives `headrace up`, however that ends.

`python -m headrace_standalone.child MODULE` runs `main` of MODULE and ends when standard input does.
`python -m headrace_standalone.child --exec PROGRAM ARGUMENTS...` becomes PROGRAM, which is killed with its parent
where the system can do that.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def service_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a service's `main` as a child."""
    return (sys.executable, "-m", __name__, module)


def program_command(command: list[str]) -> tuple[str, ...]:
    """Return the command that runs another program as a child."""
    return (sys.executable, "-m", __name__, "--exec", *command)


def main(arguments: list[str]) -> None:
    """Run what the arguments name."""
    if arguments[0] == "--exec":
        _die_with_parent()
        os.execv(arguments[1], arguments[1:])
    threading.Thread(target=_end_with_standard_input, daemon=True, name="parent-watch").start()
    module, sys.argv[1:] = arguments[0], arguments[1:]
    importlib.import_module(module).main()


def _end_with_standard_input() -> None:
    # Only the parent holds the other end: it closes when the parent is gone, even by SIGKILL.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
