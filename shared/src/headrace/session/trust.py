"""Which credentials hold now: those of the options, or those of a file that is read again when it changes."""

from __future__ import annotations

from dataclasses import replace

import structlog

from headrace.errors import ConfigurationError
from headrace.relay.credentials import Identity
from headrace.relay.keyring import Keyring, parse_keyring
from headrace.session.options import RelayOptions
from headrace.watched_file import WatchedFile

TOLD_MAX = 10_000
"""Most streams of which it is remembered that they were told: as many as a process carries."""

log = structlog.get_logger(__name__)


class Trust:
    """What a node brings to the opening of a link, at this moment.

    Args:
        options: say which credentials hold, or which file tells.
        node: its id.
        role: what it is.
        software: told to peers.

    Raises:
        ConfigurationError: when the file cannot be used.
    """

    def __init__(self, options: RelayOptions, node: str, role: str, software: str) -> None:
        accepted = {credential.key: credential for credential in options.accepted or (options.own,)}
        self.identity = Identity(node, role, options.own, accepted, software=software)
        self._file: WatchedFile[Keyring] | None = None
        self._forbidden: set[str] = set()
        if options.credentials_file is not None:
            try:
                self._file = WatchedFile(options.credentials_file, parse_keyring, "relay.credentials_file")
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
            self._take(self._file.value)

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, for `/health/ready`; `None` when all is well."""
        return (self._file.problem or None) if self._file is not None else None

    def covers(self, stream: str) -> bool:
        """Return whether this node's own credential covers that it delivers `stream`."""
        return self.identity.own.may_offer(stream)

    def is_news(self, stream: str) -> bool:
        """Return whether it was not told yet that `stream` is not covered, and tell it."""
        if stream in self._forbidden or len(self._forbidden) >= TOLD_MAX:
            return False
        self._forbidden.add(stream)
        log.warning(
            "stream_forbidden", stream=stream, node=self.identity.node, key=self.identity.own.key, tried="publish"
        )
        return True

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether `identity` is another one now."""
        if self._file is None or not self._file.reload():
            return False
        if self._file.problem:
            log.warning("credentials_not_read", reason=self._file.problem)
            return False
        self._take(self._file.value)
        return True

    def _take(self, keyring: Keyring) -> None:
        self._forbidden.clear()
        self.identity = replace(self.identity, own=keyring.own, accepted=keyring.accepted)
        log.info("credentials_read", own=keyring.own.key, keys=sorted(keyring.accepted))
