"""Run a program as the terminal's foreground job, so that Ctrl-C ends the program and not make.

In a terminal, Ctrl-C signals every process of the foreground group. make would report the interrupt as its own
failure even though the program ended cleanly. Here the program gets a group and the terminal of its own, and make
sees its exit status alone. Without a terminal the program simply takes this process's place.
"""

import os
import signal
import sys
from types import FrameType


def has_terminal() -> bool:
    """Whether this process is in the foreground of the terminal it was started from."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def give_terminal(group: int) -> None:
    """Make a process group the one that the keyboard's signals reach."""
    # A background process that changes the foreground group is stopped, unless it ignores this signal.
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, previous)


def run_in_foreground(command: list[str]) -> int:
    """Run the command in a group of its own and return its exit status as a shell would."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        give_terminal(os.getpid())
        os.execvp(command[0], command)

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    give_terminal(os.getpgrp())
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if not has_terminal():
        os.execvp(sys.argv[1], sys.argv[1:])
    sys.exit(run_in_foreground(sys.argv[1:]))
