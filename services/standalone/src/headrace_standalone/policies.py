"""`headrace policy`: what holds for streams in the whole cluster, by way of the control API."""

from __future__ import annotations

import json
import os
from typing import Annotated, Literal
from urllib.parse import quote

import typer

from headrace.errors import ConfigurationError, StartupError
from headrace.identifiers import InvalidName, stream_name
from headrace_standalone import completion
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption

Mode = Literal["public", "token", "webhook", "licence"]

Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A stream's name, or a beginning of names with * after it.",
        autocompletion=completion.policies,
    ),
]

app = typer.Typer(
    name="policy",
    help="Say who may watch which streams, in the whole cluster (docs/tokens.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def show_all(api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """List the policies that were ordered; those of the configuration of edges are not among them.

    The longest pattern that matches a stream decides (token in HEADRACE_TOKEN).
    """
    from headrace_standalone.api import ask
    from headrace_standalone.listing import list_console, print_table, table

    found = ask(api, "/api/v1/policies", os.environ)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = table("streams", "policy")
    for one in found["policies"]:
        rows.add_row(one["pattern"], one["policy"])
    print_table(list_console(), rows, "no policies: the configuration of edges decides")


@app.command()
def show(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.", autocompletion=completion.streams)],
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Show which order is about a stream; ends with 1 when none is (token in HEADRACE_TOKEN)."""
    from headrace.access.policy import Policy
    from headrace_standalone.api import ask

    try:
        name = stream_name(stream)
    except InvalidName as error:
        raise ConfigurationError(f"STREAM: {error}") from error
    ordered = {one["pattern"]: one["policy"] for one in ask(api, "/api/v1/policies", os.environ)["policies"]}
    decided = Policy("public", tuple(ordered.items())).rule_of(name)
    if decided is None:
        raise StartupError(f"no policy was ordered for {name}: the configuration of edges decides")
    pattern, policy = decided
    print(json.dumps({"pattern": pattern, "policy": policy}) if as_json else f"{policy} ({pattern})")


@app.command("set")
def order(
    pattern: Pattern,
    policy: Annotated[Mode, typer.Argument(help="Who may watch.")],
    api: ApiOption = DEFAULT_API,
) -> None:
    """Order what holds for streams (admin token in HEADRACE_TOKEN).

    Viewers who may not go on are ended within a second. Edges need the configuration for it, secrets or a webhook for
    example, or let nobody in.
    """
    from headrace_standalone.api import send

    send(api, "PUT", _path(pattern), os.environ, {"policy": policy})


@app.command()
def delete(pattern: Pattern, api: ApiOption = DEFAULT_API) -> None:
    """Leave streams to the configuration of edges again (admin token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    send(api, "DELETE", _path(pattern), os.environ)


def _path(pattern: str) -> str:
    return f"/api/v1/policies/{quote(pattern, safe='')}"
