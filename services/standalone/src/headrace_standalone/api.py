"""Asking the control API."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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
    return send(base, "GET", path, environ)


def ask_all(
    base: str, kind: str, environ: Mapping[str, str], query: str = "", name: str | None = None
) -> dict[str, Any]:
    """Return a whole list of the API, all its pages, as one object; `query` goes with each.

    The list stands in the answer under `name`, by default what it is called in the path.

    Raises:
        ConfigurationError, StartupError: as `ask`.
    """
    whole = ask(base, f"/api/v1/{kind}?{query}", environ)
    following = whole.pop("next", None)
    while following is not None:
        page = ask(base, f"/api/v1/{kind}?after={quote(following, safe='')}&{query}", environ)
        whole[name or kind] += page[name or kind]
        following = page.get("next")
    return whole


def send(
    base: str,
    method: str,
    path: str,
    environ: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """Send a request with a JSON body and return the JSON object that comes back, an empty one when nothing does.

    Raises:
        ConfigurationError: when `base` is no URL, or the token none.
        StartupError: when the API cannot be reached or refuses.
    """
    if not base.startswith(("http://", "https://")):
        raise ConfigurationError(f"--api: a URL such as http://127.0.0.1:8081 is expected, not {base!r}")
    token = _token(environ)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return asyncio.run(_send(base.rstrip("/"), method, path, headers, body, seconds))


async def _send(
    base: str, method: str, path: str, headers: Mapping[str, str], sent: Mapping[str, Any] | None, seconds: float
) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.request(method, base + path, json=sent) as response,
        ):
            body = await response.read()
            document = (json.loads(body) if body else {}) if response.ok else None
    except aiohttp.ClientSSLError as error:
        raise StartupError(f"cannot talk TLS with the API at {base}: {_tls_words(error)}") from error
    except aiohttp.ClientConnectorError as error:
        words = reason(error.os_error)
        raise StartupError(f"cannot reach the API at {base}: {words}; is Headrace running?") from error
    except TimeoutError as error:
        raise StartupError(f"the API at {base} did not answer within {seconds:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise StartupError(f"what answers at {base} is no Headrace API: {error}") from error
    if response.status in {401, 403}:
        raise StartupError(f"the API at {base} refuses: {_detail(body)} (HEADRACE_TOKEN holds the token)")
    if not isinstance(document, dict):
        raise StartupError(f"the API at {base} answered {response.status} to {path}: {_detail(body)}")
    return document


def _tls_words(error: aiohttp.ClientSSLError) -> str:
    cause = error.__cause__
    words = reason(cause) if isinstance(cause, OSError) else str(error)
    hint = "; SSL_CERT_FILE names the file (PEM) with the authority to trust"
    return words + (hint if isinstance(cause, ssl.SSLCertVerificationError) else "")


def _token(environ: Mapping[str, str]) -> str:
    token = environ.get("HEADRACE_TOKEN", "").strip()  # of a file it ends with its line
    if any(not "!" <= character <= "~" for character in token):
        raise ConfigurationError("HEADRACE_TOKEN: a token holds printable ASCII without blanks and line ends")
    return token


def _detail(body: bytes) -> str:
    try:
        document = json.loads(body)
        return str(document.get("detail") or document.get("title"))
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace").strip()
