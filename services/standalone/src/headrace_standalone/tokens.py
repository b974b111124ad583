"""`headrace token`: make and revoke viewer tokens by way of the control API."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from headrace.errors import ConfigurationError
from headrace_standalone import completion
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

TOKEN_DOTS = 2
ID_MAX = 128
"""By these a token is told from an id: a token has three parts (RFC 7515), and no id is as long."""

TIME_MAX = 1e11
"""UTC in seconds beyond which a claim is no time that can be written."""

app = typer.Typer(
    name="token",
    help="Make and revoke viewer tokens (docs/tokens.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def make(
    streams: Annotated[
        list[str],
        typer.Argument(
            metavar="STREAM...", help="Names, or beginnings with * after them.", autocompletion=completion.streams
        ),
    ],
    lifetime: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 30m, 8h, 7d.")] = "8h",
    viewers: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many may watch at once.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Origin or domain of pages that use it. Repeatable.")] = None,
    address: Annotated[list[str] | None, typer.Option(help="Address or network of viewers. Repeatable.")] = None,
    subject: Annotated[str, typer.Option(metavar="TEXT", help="Whom it is for.")] = "",
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    wanted: dict[str, Any] = {"streams": streams, "seconds": _seconds(lifetime), "subject": subject}
    limits = {"viewers": viewers, "origins": origin, "addresses": address}
    wanted |= {name: value for name, value in limits.items() if value}
    made = send(api, "POST", "/api/v1/tokens", os.environ, wanted)
    if as_json:
        print(json.dumps(made, indent=2))
    else:
        print(made["token"])
        ends = datetime.fromtimestamp(made["expires"], UTC)
        typer.echo(f"id {made['id']}, until {ends:%Y-%m-%d %H:%M:%S} UTC", err=True)


@app.command()
def show(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token, or - for one on standard input.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a token says, without asking anybody: whether it is genuine is not known here."""
    claims = _claims(sys.stdin.read().strip() if token == "-" else token)
    if as_json:
        print(json.dumps(claims, indent=2))
        return
    for name, value in claims.items():
        print(f"{name:<10}{_said(name, value)}")


def _said(name: str, value: Any) -> str:
    if name in {"exp", "nbf", "iat"} and isinstance(value, int | float) and 0 <= value < TIME_MAX:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _claims(text: str) -> dict[str, Any]:
    try:
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        raise ConfigurationError("TOKEN: this is no token")
    return claims


@app.command()
def revoke(
    token: Annotated[
        str, typer.Argument(metavar="ID|TOKEN", help="The token's id, or the token itself, or - for standard input.")
    ],
    api: ApiOption = DEFAULT_API,
) -> None:
    """Revoke a token: what plays with it ends within a second (admin token in HEADRACE_TOKEN).

    With the token itself that is remembered until it ends; with its id alone for a year.
    """
    from headrace_standalone.api import send

    text = sys.stdin.read().strip() if token == "-" else token
    id, query = text, ""
    if text.count(".") == TOKEN_DOTS and len(text) > ID_MAX:
        claims = _claims(text)
        id = str(claims.get("jti") or hashlib.sha256(text.encode()).hexdigest()[:32])
        ends = claims.get("exp")
        query = f"?expires={math.ceil(ends)}" if isinstance(ends, int | float) and 0 <= ends < TIME_MAX else ""
    send(api, "DELETE", f"/api/v1/tokens/{quote(id, safe='')}{query}", os.environ)


@app.command()
def revoked(api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """List revoked tokens (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask_all

    found = ask_all(api, "revoked-tokens", os.environ, name="revoked")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for token in found["revoked"]:
            print(token["id"])


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        raise ConfigurationError("--for: a time such as 90s, 30m, 8h or 7d is expected")
    return int(match[1]) * _UNITS[match[2]]
