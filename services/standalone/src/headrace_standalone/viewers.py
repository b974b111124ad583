"""`headrace viewers` and `headrace kick`: who watches, by way of the control API."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from headrace_standalone import completion
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption

app = typer.Typer()


@app.command()
def viewers(
    stream: Annotated[
        str | None, typer.Option(metavar="STREAM", help="Only those of it.", autocompletion=completion.streams)
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="NODE", help="Only those at that edge.", autocompletion=completion.nodes)
    ] = None,
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those whose token is for it.")] = None,
    counts: Annotated[bool, typer.Option("--counts", help="Count them instead, by edge, stream and door.")] = False,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """List who watches, over the whole cluster (token in HEADRACE_TOKEN)."""
    from headrace_standalone.api import ask, ask_all
    from headrace_standalone.listing import list_console, show_counts, show_viewers

    given = {"stream": stream, "node": node, "subject": subject}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    found = ask(api, "/api/v1/viewer-counts", os.environ) if counts else ask_all(api, "viewers", os.environ, query)
    if as_json:
        print(json.dumps(found, indent=2))
    elif counts:
        show_counts(list_console(), found)
    else:
        show_viewers(list_console(), found["viewers"], datetime.now(UTC).timestamp())


@app.command()
def kick(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="The viewer's id, as listed.", autocompletion=completion.viewers)
    ],
    seconds: Annotated[
        int, typer.Option("--for", metavar="SECONDS", min=1, max=86_400, help="How long its session is kept away.")
    ] = 60,
    api: ApiOption = DEFAULT_API,
) -> None:
    """Send a viewer away from whatever edge it is at (token of scope write in HEADRACE_TOKEN)."""
    from headrace_standalone.api import send

    send(api, "DELETE", f"/api/v1/viewers/{quote(id, safe='')}?seconds={seconds}", os.environ)
