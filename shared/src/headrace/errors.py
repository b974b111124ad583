"""Why a program cannot begin: the two ends that are told to the person who started it, in one sentence each."""

from __future__ import annotations

import os
import ssl
import sys

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2
"""Exit codes of every program."""


class ConfigurationError(Exception):
    """The configuration is wrong: exit code 2. The text names where, which setting, what was found, what is allowed."""


class StartupError(Exception):
    """The machine or the network does not allow what the configuration asks for: exit code 1."""


def tell(program: str, error: Exception) -> None:
    """Write what is wrong to standard error, one line for each problem."""
    for line in str(error).splitlines():
        print(f"{program}: {line}", file=sys.stderr)


def reason(error: OSError) -> str:
    """Return the operating system's words for `error`; asyncio wraps them into longer sentences of its own."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):  # whose number is OpenSSL's, not the operating system's
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error.strerror or error).lower() or type(error).__name__
