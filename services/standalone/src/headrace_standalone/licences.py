"""`headrace licence`: licences of pages, by way of the control API."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import typer

from headrace.errors import EXIT_FAILURE
from headrace_standalone import completion
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption

Kind = Literal["test", "free", "full"]

Key = Annotated[str, typer.Argument(metavar="KEY", help="The licence's key.", autocompletion=completion.licences)]

app = typer.Typer(
    name="licence",
    help="Issue licences to pages of domains, and change them (docs/tokens.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def show_all(
    user: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those of this user.")] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """List licences, oldest first (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask

    query = f"?{urlencode({'user': user})}" if user is not None else ""
    found = ask(api, f"/api/v1/licences{query}", os.environ)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _table(found["licences"])


@app.command()
def show(key: Key, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Show a licence (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask

    _print(ask(api, _path(key), os.environ), as_json)


@app.command()
def issue(
    kind: Annotated[
        Kind,
        typer.Option(
            help="test: 180 days, 3 watchers; free: 365 days, 2 watchers; full: as --days and --watchers say."
        ),
    ] = "full",
    days: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How long from its first activation; 365 unless given.")
    ] = None,
    watchers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many may watch at once; any number unless given.")
    ] = None,
    activations: Annotated[int, typer.Option(metavar="N", min=1, help="How often it may be activated.")] = 3,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Issue a licence and print its key (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    limits = {"days": days, "maxWatchers": watchers}
    wanted = {"kind": kind, "activations": activations}
    wanted |= {name: value for name, value in limits.items() if value is not None}
    made = send(api, "POST", "/api/v1/licences", os.environ, wanted)
    print(json.dumps(made, indent=2) if as_json else made["key"])


@app.command()
def assign(
    key: Key,
    user: Annotated[str, typer.Argument(metavar="USER", help="Whom it is for, in your words.")],
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Assign a licence to a user (admin token in HEADRACE_TOKEN)."""
    _change(key, "assign", {"user": user}, api, as_json)


@app.command()
def activate(
    key: Key,
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Where the pages are; subdomains are included.")],
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Activate a licence for a domain; its time runs from the first activation (token of scope write)."""
    _change(key, "activate", {"domain": domain}, api, as_json)


@app.command()
def deactivate(key: Key, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Free a licence for another domain; its viewers are ended within a second (token of scope write)."""
    _change(key, "deactivate", None, api, as_json)


@app.command()
def verify(
    key: Key,
    user: Annotated[str | None, typer.Option(metavar="TEXT", help="Whose it should be.")] = None,
    domain: Annotated[str | None, typer.Option(metavar="DOMAIN", help="Where it should hold.")] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Say whether a licence holds; ends with 1 when it does not (token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    asked = {name: value for name, value in {"user": user, "domain": domain}.items() if value is not None}
    said = send(api, "POST", f"{_path(key)}/verify", os.environ, asked)
    if as_json:
        print(json.dumps(said))
    elif said["valid"]:
        print(f"it holds until {said['expiresAt']} UTC")
    else:
        print(f"it does not hold: {said['reason']}")
    if not said["valid"]:
        raise typer.Exit(EXIT_FAILURE)


@app.command()
def delete(key: Key, api: ApiOption = DEFAULT_API) -> None:
    """Withdraw a licence: who watches by it goes within a second (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    send(api, "DELETE", _path(key), os.environ)


def _change(key: str, call: str, body: Mapping[str, str] | None, api: str, as_json: bool) -> None:
    from headrace_standalone.api import send

    _print(send(api, "POST", f"{_path(key)}/{call}", os.environ, body), as_json)


def _print(licence: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(licence, indent=2))
    else:
        _table([licence])


def _table(licences: Iterable[Mapping[str, Any]]) -> None:
    from headrace_standalone.listing import list_console, print_table, table

    rows = table("key", "kind", "user", "domain", "expires (UTC)", "watchers", "activations left")
    for one in licences:
        whose = (one.get("user", ""), one.get("domain", ""), one.get("expiresAt", ""))
        rows.add_row(
            one["key"], one["kind"], *whose, str(one.get("maxWatchers", "any")), str(one["remainingActivations"])
        )
    print_table(list_console(), rows, "no licences")


def _path(key: str) -> str:
    return f"/api/v1/licences/{quote(key, safe='')}"
