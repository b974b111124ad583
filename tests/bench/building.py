"""The benchmarks' own programs in C: compiled when they are needed, into build/bench."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
PROGRAMS = Path("build/bench")


class NoCompiler(Exception):
    """There is no C compiler here, so what needs one is not measured."""

    def __str__(self) -> str:
        return "no C compiler (cc) is installed: the load and the ceiling of the fan-out cannot be made"


def program(name: str) -> Path:
    """Return the program made of `c/{name}.c`, compiled now when it is older than its source.

    Raises:
        NoCompiler: when there is none.
    """
    source, made = SOURCES / f"{name}.c", PROGRAMS / name
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc")
        if compiler is None:
            raise NoCompiler
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(made), str(source)], check=True)
    return made.resolve()
