"""The certificate of this process, which every listener shows, read anew when its files change."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import NoReturn

import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry, Gauge

from headrace.errors import ConfigurationError, reason
from headrace.watched_file import LOOK_SECONDS

PEM_MAX_BYTES = 1024 * 1024
"""Largest file of certificates or of a key: chains have some kilobytes."""

log = structlog.get_logger(__name__)


class Certificate:
    """A certificate with its chain, and its key, for listeners.

    New connections get what the files say when they begin; those that are there go on with what they have. Files that
    cannot be used change nothing but `problem`.

    Attributes:
        context: for listeners; stays the same object.
        problem: what is wrong with the files now; `None` while they can be used.

    Raises:
        ConfigurationError: when the files cannot be used at the start; says which and why.
    """

    def __init__(self, certificate: Path, key: Path, metrics: CollectorRegistry) -> None:
        self._certificate = certificate
        self._key = key
        self._expires = certificate_metric(metrics)
        self.problem: str | None = None
        self.context = _context()
        self._stamps: tuple[tuple[int, int, int] | None, ...] = self._stat()
        self._load()

    def look(self) -> None:
        """Read the files again if they have changed."""
        stamps = self._stat()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._load()
        except ConfigurationError as error:
            if _is_unreadable(error):
                self._stamps = ()  # who may read a file changes none of what a stamp is made of
            if self.problem != str(error):
                log.warning("certificate_not_read", reason=str(error))
            self.problem = str(error)

    async def watch(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what is another after every change; the inode is, where a new file took the place of the old one."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)

    def _load(self) -> None:
        chain = _pem(self._certificate, "tls.certificate", b"-----BEGIN CERTIFICATE-----", "certificate")
        _pem(self._key, "tls.key", b"PRIVATE KEY-----", "private key")
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except ValueError:
            raise ConfigurationError(f"tls.certificate: {self._certificate} holds no certificate (PEM)") from None
        # Files that do not belong together, since one of them is just being written, must not spoil what is in use.
        for context in (_context(), self.context):
            self._use(context)
        self.problem = None
        self._expires.set(leaf.not_valid_after_utc.timestamp())
        log.info("certificate_read", subject=leaf.subject.rfc4514_string(), not_after=f"{leaf.not_valid_after_utc:%F}")

    def _use(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate, self._key, _refuse_password)
        except ssl.SSLError as error:
            if "MISMATCH" in (error.reason or ""):
                text = f"tls.key: {self._key} is not the key of the certificate in {self._certificate}"
            else:
                text = f"tls.key: {self._key} and {self._certificate} cannot be used: {error.reason or error}"
            raise ConfigurationError(text) from None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"tls.key: {self._key}: {error}") from error


def certificate_metric(registry: CollectorRegistry) -> Gauge:
    """Register the metric of a process with a certificate."""
    return Gauge(
        "headrace_tls_not_after_seconds", "When the certificate in use ends, UTC since 1970.", registry=registry
    )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_unreadable(error: ConfigurationError) -> bool:
    return isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, ssl.SSLError)


def _refuse_password() -> NoReturn:
    raise ValueError("it is encrypted; a key without a password is needed")


def _pem(path: Path, setting: str, begins: bytes, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(PEM_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {reason(error)}") from error
    if len(text) > PEM_MAX_BYTES or begins not in text:
        raise ConfigurationError(f"{setting}: {path} holds no {what} (PEM)")
    return text
