"""Running a program to its end, and the one error for everything that containers may lack on a machine."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

QUERY_SECONDS = 60.0  # a question that a program answers from its own state
SHOWN_LINES = 30  # of a failed program's output: its reason stands at the end


class ContainersUnavailable(Exception):
    """This machine cannot run containers; the text says what is missing."""


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = QUERY_SECONDS,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command and return what it printed. Raise `CalledProcessError` with its last lines as a note."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        error.add_note("\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:]))
        raise error
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command exists and ends well."""
    try:
        run(command)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
