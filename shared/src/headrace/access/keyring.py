"""The keys that viewer tokens may be signed with: secrets of the configuration, and a key set in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from headrace.access.tokens import InvalidKeys, Keys, ViewerToken, parse_jwks, secret_keys
from headrace.watched_file import LOOK_SECONDS, WatchedFile

log = structlog.get_logger(__name__)


class Keyring:
    """All keys that are known now; those of a file change with it.

    Args:
        secrets: for HS256.
        jwks_file: holds keys as a JSON Web Key Set and may change at any time.

    Raises:
        InvalidKeys: when a secret is too short, or the file cannot be used at the start.
    """

    def __init__(self, secrets: Sequence[str] = (), jwks_file: Path | None = None) -> None:
        self._own = secret_keys(secrets)
        self._file = None if jwks_file is None else _watched_keys(jwks_file)
        self._looked = 0.0
        self._keys = self._own
        self._gather()

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        if not self._keys:
            return "no key is known that viewer tokens could be signed with"
        return (self._file.problem if self._file is not None else "") or None

    def verify(self, text: str) -> ViewerToken:
        """Return what a token says, if one of the keys signed it. Time is not looked at.

        Raises:
            TokenRefused: `bad_token`.
        """
        return self._keys.verify(text)

    def look(self, now: float) -> None:
        """Take the file's keys anew if it has changed; `now` is monotonic, and more than once a second is too often."""
        if self._file is None or now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        if not self._file.reload():
            return
        if self._file.problem:
            log.warning("viewer_keys_not_read", reason=self._file.problem)
            return
        self._gather()
        log.info("viewer_keys_read", keys=len(self._file.value))

    def _gather(self) -> None:
        self._keys = self._own + (self._file.value if self._file is not None else Keys(()))


def _watched_keys(path: Path) -> WatchedFile[Keys]:
    try:
        return WatchedFile(path, parse_jwks, "access.jwks_file")
    except ValueError as error:
        raise InvalidKeys(str(error)) from None
