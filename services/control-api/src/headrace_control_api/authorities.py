"""Whose certificates are believed when nodes are asked: a file that is read again when it changes."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

from headrace.errors import ConfigurationError
from headrace.watched_file import WatchedFile

log = structlog.get_logger(__name__)


class Authorities:
    """The authorities of `relay.ca_file`; without a file those of the system.

    Raises:
        ConfigurationError: when the file cannot be used at the start.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._file: WatchedFile[ssl.SSLContext] | None = None
        if ca_file is not None:
            try:
                self._file = WatchedFile(ca_file, _trusting, "relay.ca_file")
            except ValueError as error:
                raise ConfigurationError(str(error)) from None

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, for `/health/ready`; `None` when all is well."""
        self.now()
        return (self._file.problem or None) if self._file is not None else None

    def now(self) -> ssl.SSLContext | bool:
        """Return what a request is verified with, as aiohttp takes it; a file that changed is read first."""
        if self._file is None:
            return True
        if self._file.reload():
            if self._file.problem:
                log.warning("authorities_not_read", reason=self._file.problem)
            else:
                log.info("authorities_read")
        return self._file.value


def _trusting(text: str) -> ssl.SSLContext:
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError("the file holds no certificate (PEM)")
    try:
        # Without what is no ASCII: the names that some put above each certificate.
        return ssl.create_default_context(cadata=text.encode("ascii", "ignore").decode())
    except ssl.SSLError as error:
        raise ValueError(f"the file's certificates cannot be read: {error.reason or error}") from None
