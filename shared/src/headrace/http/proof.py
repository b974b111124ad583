"""Proof that a request comes from a process of the cluster: signed with the secret that all of them share."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Final

from aiohttp import web

from headrace.transport.reaching import PROXY_HEADERS

PROOF_HEADER: Final = "X-Headrace-Proof"

CLOCKS_SECONDS: Final = 30
"""How long a proof holds, and how far clocks may be apart: who copies one can repeat that very request so long."""


def prove(secret: str, what: str, now: float) -> str:
    """Return the proof for a request: `what` says all that it asks for."""
    at = f"{int(now)}"
    return f"{at}.{_sign(secret, what, at)}"


def is_proven(secret: str, what: str, proof: str, now: float) -> bool:
    """Return whether `proof` was made with the same secret for the same request, just now."""
    at, _, signature = proof.partition(".")
    if not at.isascii() or not at.isdigit() or len(at) > 12 or abs(now - int(at)) > CLOCKS_SECONDS:
        return False
    # What is no UTF-8 stands as surrogates in the header.
    return hmac.compare_digest(signature.encode(errors="surrogateescape"), _sign(secret, what, at).encode())


def with_body(path: str, body: bytes) -> str:
    """Return what the proof of a request with a body is made for: its path and query, and all that is in it."""
    return f"{path}\n{hashlib.sha256(body).hexdigest()}"


def is_of_cluster(request: web.Request, secret: str, now: float, body: bytes | None = None) -> bool:
    """Return whether a process of the cluster asks; without a secret only this machine is believed."""
    proof = request.headers.get(PROOF_HEADER, "")
    what = request.path_qs if body is None else with_body(request.path_qs, body)
    return is_proven(secret, what, proof, now) and (bool(secret) or _is_here(request))


def _is_here(request: web.Request) -> bool:
    """Return whether this machine asks, and not by a proxy on it, which anybody may use."""
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    if any(header in request.headers for header in PROXY_HEADERS):
        return False
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)


def _sign(secret: str, what: str, at: str) -> str:
    # Keys of their own for this use: the shared secret proves other things elsewhere.
    key = hmac.digest(secret.encode(), b"headrace request proof", hashlib.sha256)
    return hmac.digest(key, f"{at}\n{what}".encode(), hashlib.sha256).hex()
