"""The keys that viewer tokens may be signed with: secrets of the configuration, key sets in a file and at a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from headrace.access.asking import Asker, NoAnswer
from headrace.access.tokens import JWKS_MAX_BYTES, InvalidKeys, Keys, TokenRefused, ViewerToken, parse_jwks, secret_keys
from headrace.watched_file import LOOK_SECONDS, WatchedFile

FETCH_SECONDS: Final = 5.0
"""How long fetching a key set may take."""

RETRY_SECONDS: Final = 5.0
"""How soon a key set is asked for again that was not to be had, or that lacks the key of a token: it may be a new one,
and whoever sends tokens that nobody signed shall not make us ask all the time."""

log = structlog.get_logger(__name__)


class RemoteKeys:
    """A key set at a URL, fetched now and then; what it said last stays while it is away.

    Args:
        url: where.
        refresh_seconds: how often.
    """

    def __init__(self, url: str, refresh_seconds: float) -> None:
        self._asker = Asker(url, FETCH_SECONDS, JWKS_MAX_BYTES)
        self._refresh_seconds = refresh_seconds
        self._wanted = asyncio.Event()
        self.keys = Keys(())
        self.known = False
        self.problem = "access.jwks_url: it was not fetched yet"

    def want(self) -> None:
        """Ask again soon: a token came whose key is not known."""
        self._wanted.set()

    async def fetch(self) -> bool:
        """Ask for the keys; return whether there are other ones now."""
        before = self.problem
        try:
            keys = parse_jwks((await self._asker.ask()).decode())
        except (NoAnswer, ValueError) as error:
            self.problem = f"access.jwks_url: {error}"
            if not before or not self.known:
                log.warning("viewer_keys_not_fetched", reason=str(error))
            return False
        self.keys, self.known, self.problem = keys, True, ""
        if before:
            log.info("viewer_keys_fetched", keys=len(keys))
        return True

    async def wait(self) -> None:
        """Return when it is time to fetch again: after the interval, or soon when it failed or is wanted."""
        await asyncio.sleep(RETRY_SECONDS)
        if self.problem:
            return
        try:
            async with asyncio.timeout(max(0.0, self._refresh_seconds - RETRY_SECONDS)):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._asker.close()


class Keyring:
    """All keys that are known now; those of a file or a URL change with it.

    Args:
        secrets: for HS256.
        jwks_file: holds keys as a JSON Web Key Set and may change at any time.
        remote: the same at a URL.

    Raises:
        InvalidKeys: when a secret is too short, or the file cannot be used at the start.
    """

    def __init__(
        self, secrets: Sequence[str] = (), jwks_file: Path | None = None, remote: RemoteKeys | None = None
    ) -> None:
        self._own = secret_keys(secrets)
        self._file = None if jwks_file is None else _watched_keys(jwks_file)
        self._remote = remote
        self._looked = 0.0
        self._too_many = ""
        self._keys = self._gathered()

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        wrong = [source.problem for source in (self._file, self._remote) if source is not None and source.problem]
        wrong += [self._too_many] if self._too_many else []
        if wrong:
            return "; ".join(wrong)
        return None if self._keys else "no key is known that viewer tokens could be signed with"

    def verify(self, text: str) -> ViewerToken:
        """Return what a token says, if one of the keys signed it. Time is not looked at.

        Raises:
            TokenRefused: `bad_token`; `away` while the only keys there are have never been fetched.
        """
        try:
            return self._keys.verify(text)
        except TokenRefused:
            if self._remote is not None:
                self._remote.want()
                if not self._remote.known:
                    raise TokenRefused("away", "the keys of tokens are not known yet; try again later") from None
            raise

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

    async def follow(self) -> None:
        """Fetch the keys of the URL again and again, until cancelled; returns at once without one."""
        if self._remote is None:
            return
        try:
            while True:
                if await self._remote.fetch():
                    self._gather()
                await self._remote.wait()
        finally:
            await self._remote.close()

    def _gather(self) -> None:
        """Take the keys of all sources; the ones from before stay when there are too many together."""
        try:
            self._keys, self._too_many = self._gathered(), ""
        except InvalidKeys as error:
            self._too_many = f"access.secrets, jwks_file and jwks_url together: {error}"
            log.warning("viewer_keys_not_taken", reason=str(error))

    def _gathered(self) -> Keys:
        keys = self._own
        for found in (self._file.value if self._file is not None else None, self._remote and self._remote.keys):
            keys = keys + found if found else keys
        return keys


def _watched_keys(path: Path) -> WatchedFile[Keys]:
    try:
        return WatchedFile(path, parse_jwks, "access.jwks_file")
    except ValueError as error:
        raise InvalidKeys(str(error)) from None
