"""Short exchanges with HTTP servers that the operator named: no redirects, bounded bodies, one deadline for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp


class NoAnswer(Exception):
    """A server that gave no usable answer; the sentence says why, without what was sent."""


class Asker:
    """Sends requests to one URL.

    Args:
        url: of the operator's own configuration: it may lie in any network.
        seconds: how long one exchange may take, connecting and reading included.
        answer_max_bytes: longest answer that is read.
        at_once: most exchanges at once; more wait, within their time.
        headers: sent with each request.
    """

    def __init__(
        self,
        url: str,
        seconds: float,
        answer_max_bytes: int,
        at_once: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._answer_max_bytes = answer_max_bytes
        self._turns = asyncio.Semaphore(at_once)
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, body: Mapping[str, Any] | None = None) -> bytes:
        """Return the body of the answer to a GET, or with `body` to a POST of it as JSON.

        Raises:
            NoAnswer: when there is none in time, it is not 200, or too long.
        """
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return await self._exchange(body)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, body: Mapping[str, Any] | None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())
        method = "GET" if body is None else "POST"
        async with self._session.request(method, self._url, json=body, allow_redirects=False) as answer:
            if answer.status != 200:
                raise NoAnswer(f"it answered {answer.status}")
            found = await answer.content.read(self._answer_max_bytes + 1)
            while len(found) <= self._answer_max_bytes and (more := await answer.content.read(self._answer_max_bytes)):
                found += more
            if len(found) > self._answer_max_bytes:
                raise NoAnswer(f"its answer is longer than {self._answer_max_bytes} bytes")
            return found
