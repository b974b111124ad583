"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_API = "http://127.0.0.1:8081"
"""Where the control API is unless told otherwise."""

ApiOption = Annotated[str, typer.Option(metavar="URL", envvar="HEADRACE_API", help="Where the control API is.")]
OtherApiOption = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", envvar="HEADRACE_API", help="Ask this control API, not the registry."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
