"""The benchmarks' own programs in C: compiled when they are needed, into build/bench."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "c"
PROGRAMS = HERE.parent.parent / "build/bench"

WITH_TLS = ("-DWITH_TLS", "-lssl", "-lcrypto")


class NoCompiler(Exception):
    """What compiling needs is not here, so what needs it is not measured; says what is missing."""


def program(name: str, *, tls: bool = False) -> Path:
    """Return the program made of `c/{name}.c`, compiled now when it is older than its source.

    Raises:
        NoCompiler: when there is none, or for `tls` none of OpenSSL's headers.
    """
    source, made = SOURCES / f"{name}.c", PROGRAMS / (f"{name}-tls" if tls else name)
    newest = max(file.stat().st_mtime for file in (source, *SOURCES.glob("*.h")))
    if not made.exists() or made.stat().st_mtime < newest:
        compiler = shutil.which("cc")
        if compiler is None:
            raise NoCompiler("no C compiler (cc) is installed: the load and the ceiling of the fan-out cannot be made")
        made.parent.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(made), str(source)]
        done = subprocess.run([*command, *(WITH_TLS if tls else ())], capture_output=True, text=True, check=False)
        if done.returncode and tls:
            raise NoCompiler("OpenSSL's headers (libssl-dev) are not installed: the load by TLS cannot be made")
        if done.returncode:
            raise RuntimeError(done.stderr)
    return made.resolve()
