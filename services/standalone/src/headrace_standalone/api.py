"""Asking the control API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from headrace.errors import ConfigurationError, StartupError, reason

ANSWER_SECONDS = 10.0
"""How long an answer may take."""


def ask(base: str, path: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object at `path` of the API at `base`, with the token of HEADRACE_TOKEN if there is one.

    Raises:
        ConfigurationError: when `base` is no URL.
        StartupError: when the API cannot be reached or refuses.
    """
    if not base.startswith(("http://", "https://")):
        raise ConfigurationError(f"--api: a URL such as http://127.0.0.1:8081 is expected, not {base!r}")
    token = environ.get("HEADRACE_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return asyncio.run(_ask(base.rstrip("/"), path, headers))


async def _ask(base: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(base + path) as response,
        ):
            body = await response.read()
            document = json.loads(body) if response.ok else None
    except aiohttp.ClientConnectorError as error:
        words = reason(error.os_error)
        raise StartupError(f"cannot reach the API at {base}: {words}; is Headrace running?") from error
    except TimeoutError as error:
        raise StartupError(f"the API at {base} did not answer within {ANSWER_SECONDS:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise StartupError(f"what answers at {base} is no Headrace API: {error}") from error
    if response.status in {401, 403}:
        raise StartupError(f"the API at {base} refuses: {_detail(body)} (HEADRACE_TOKEN holds the token)")
    if not isinstance(document, dict):
        raise StartupError(f"the API at {base} answered {response.status} to {path}: {_detail(body)}")
    return document


def _detail(body: bytes) -> str:
    try:
        document = json.loads(body)
        return str(document.get("detail") or document.get("title"))
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace").strip()
