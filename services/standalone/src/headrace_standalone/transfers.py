"""Transfers from the command line: asked for at the control API, and followed until media flows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import typer

from headrace.errors import EXIT_FAILURE, ConfigurationError, StartupError
from headrace.identifiers import InvalidName, stream_name
from headrace_standalone import completion
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption

WAIT_SECONDS: Final = 10.0
"""How long a command follows a transfer before it leaves it to itself."""

LOOK_SECONDS: Final = 0.3
"""How often it looks meanwhile."""

FLOWING: Final = "PROCESSED_REMOTE"

WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to follow it until media flows.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="TEXT", help="Your own key: the same command may be sent again.")
]
RegionOption = Annotated[str, typer.Option("--region", metavar="NAME", help="Where it had better run.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("pull")(pull)
    app.command("push")(push)
    app.command("transfers")(show)
    app.command("terminate")(terminate)


def pull(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name there.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="The other server, e.g. ws://video.example:8088.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name here; the same unless given.")
    ] = None,
    region: RegionOption = "",
    key: KeyOption = None,
    wait: WaitOption = WAIT_SECONDS,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Fetch a stream from another server and carry it here (token in HEADRACE_TOKEN).

    Ends with 0 when media flows, 1 when it does not yet; the transfer stands until it is terminated.
    """
    _begin("pull", uri, name or stream, stream, region, key, wait, api, as_json)


def push(
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="The stream's name here.", autocompletion=completion.streams)
    ],
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="The other server, e.g. ws://key:secret@video.example:8080.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name there; the same unless given.")
    ] = None,
    region: RegionOption = "",
    key: KeyOption = None,
    wait: WaitOption = WAIT_SECONDS,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Make a stream of ours appear on another server, or record it (token in HEADRACE_TOKEN).

    Ends with 0 when media flows, 1 when it does not yet; the transfer stands until it is terminated.
    """
    _begin("push", uri, stream, name or stream, region, key, wait, api, as_json)


def show(api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """List the transfers of the cluster (token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask_all

    document = ask_all(api, "transfers", os.environ)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _table(document["transfers"])


def terminate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="STREAM|ID",
            help="A stream's name here, or a transfer's id.",
            autocompletion=completion.transferred,
        ),
    ],
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """End transfers on both sides: the one of this id, or all of a stream (token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask_all, send

    found = [
        one for one in ask_all(api, "transfers", os.environ)["transfers"] if what in (one["id"], one["local_name"])
    ]
    if not found:
        raise StartupError(f"there is no transfer {what}; 'headrace transfers' lists them")
    for one in found:
        send(api, "DELETE", f"/api/v1/transfers/{quote(one['id'], safe='')}", os.environ)
    if as_json:
        print(json.dumps({"terminated": [one["id"] for one in found]}))
    else:
        for one in found:
            print(f"{one['kind']} of {one['local_name']} ended ({one['uri']})")


def _begin(
    kind: Literal["pull", "push"],
    uri: str,
    local_name: str,
    remote_name: str,
    region: str,
    key: str | None,
    wait: float,
    api: str,
    as_json: bool,
) -> None:
    from headrace_standalone.api import send

    for text in (local_name, remote_name):
        try:
            stream_name(text)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from error
    body: dict[str, Any] = {"kind": kind, "uri": uri, "local_name": local_name, "remote_name": remote_name}
    body |= {"region": region} if region else {}
    body |= {"key": key} if key else {}
    made = send(api, "POST", "/api/v1/transfers", os.environ, body)
    made = _follow(made, wait, api, as_json)
    if as_json:
        print(json.dumps(made, indent=2))
    else:
        _table([made])
    if made["status"] != FLOWING:
        raise typer.Exit(EXIT_FAILURE)


def _follow(made: Mapping[str, Any], seconds: float, api: str, as_json: bool) -> dict[str, Any]:
    """Look at a transfer until media flows, it is over, or the time is; tell people how it goes meanwhile."""
    from rich.console import Console

    from headrace_standalone.api import ask

    deadline = time.monotonic() + seconds
    current = dict(made)
    with Console(stderr=True, quiet=as_json).status(_progress(current)) as status:
        while current["status"] not in {FLOWING, "STOPPED"} and not current["final"] and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            current = ask(api, f"/api/v1/transfers/{quote(current['id'], safe='')}", os.environ)
            status.update(_progress(current))
    return current


def _progress(one: Mapping[str, Any]) -> str:
    return f"{one['kind']} of {one['local_name']}: {one['status']} {one.get('info', '')}"


def _table(found: Iterable[Mapping[str, Any]]) -> None:
    from headrace_standalone.listing import list_console, print_table, table

    rows = table("id", "kind", "here", "there", "status", "node", "uri", "info")
    for one in found:
        names = (one["local_name"], one["remote_name"])
        rows.add_row(
            one["id"], one["kind"], *names, one["status"], one.get("node", ""), one["uri"], one.get("info", "")
        )
    print_table(list_console(), rows, "no transfers")
