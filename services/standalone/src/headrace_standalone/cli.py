"""The `headrace` command."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import EXIT_CONFIGURATION, EXIT_FAILURE, EXIT_OK, ConfigurationError, StartupError, tell
from headrace.identifiers import InvalidName, NodeId, StreamName, node_id, stream_name
from headrace.telemetry.masking import mask_uris
from headrace.version import VERSION
from headrace_standalone import completion, licences, policies, tokens, transfers, viewers
from headrace_standalone.options import DEFAULT_API, ApiOption, JsonOption, OtherApiOption

PROGRAM = "headrace"

INTERMEDIATES_MAX = 14
"""Longest chain: with ingress and edge that is the longest route (docs/protocol.md, section 1.2)."""

app = typer.Typer(
    name=PROGRAM,
    help="Live video from any camera to every browser, over a relay mesh that organises and heals itself.",
    epilog="Settings come from a file (--config) and from HEADRACE_... variables; see docs/configuration.md. "
    "Exit code 2 means a wrong configuration, 1 a failure at run time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TOML file with settings (or HEADRACE_CONFIG).")
]

app.add_typer(tokens.app)
app.add_typer(policies.app)
app.add_typer(licences.app)
transfers.add_commands(app)
app.add_typer(viewers.app)


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"{PROGRAM} {VERSION}")
        raise typer.Exit


@app.command()
def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Add a test pattern with clock and beep as stream 'demo'.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URI", help="Add a feed, e.g. cam1=rtsp://user:password@10.0.0.5/main. Repeatable."),
    ] = None,
    processes: Annotated[
        bool, typer.Option("--processes", help="Run each service as a process of its own, with a local Valkey.")
    ] = False,
    intermediates: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=INTERMEDIATES_MAX,
            help="Length of the relay chain with --processes; 1 unless given.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Processes that serve viewers side by side; edge.workers unless given."),
    ] = None,
    config: ConfigOption = None,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print the settings in force and end.")] = False,
) -> None:
    """Run Headrace: feeds in, browsers served, until Ctrl-C.

    Everything runs in one process, or with --processes as ingress, a chain of intermediates, edge and control API.
    """
    if intermediates is not None and not processes:
        raise ConfigurationError("--intermediates: a chain of intermediates needs --processes")
    named = _sources([*(source or []), *(["demo=test:"] if demo else [])])
    try:
        # Imported here: the other commands need neither media nor servers and begin at once.
        from headrace.service.settings import load_settings
        from headrace.service.showing import settings_as_toml
        from headrace_standalone.up import up_in_one, up_in_processes

        given = {"ingress": {"sources": named} if named else {}, "edge": {"workers": workers} if workers else {}}
        settings = load_settings(config, os.environ, given)
        if show_config:
            print(settings_as_toml(settings), end="")
            return
        code = (
            up_in_processes(settings, config, 1 if intermediates is None else intermediates)
            if processes
            else up_in_one(settings)
        )
    except KeyboardInterrupt:
        code = EXIT_OK  # so early that nothing had begun
    raise typer.Exit(code)


@app.command()
def probe(
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="The stream to watch.", autocompletion=completion.streams)
    ],
    edge: Annotated[
        str, typer.Option(metavar="URL", help="The edge to watch it from.", show_default=True)
    ] = "ws://127.0.0.1:8088",
    seconds: Annotated[
        float | None, typer.Option(metavar="N", min=0.1, help="How long to watch; without it until Ctrl-C.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, the last one the summary.")
    ] = False,
) -> None:
    """Watch a stream like a player does and measure it.

    Prints latency from capture to here, chunks missing or had twice by their identity, bitrates and changes of state.
    Ends with exit code 1 when a chunk was missing, nothing came, or the edge could not be reached.
    """
    from headrace_standalone.probe.run import edge_url, probe

    name = _stream(stream, "STREAM")
    raise typer.Exit(probe(name, edge_url(edge), seconds, as_json))


@app.command()
def check(
    uri: Annotated[str, typer.Argument(metavar="URI", help="The feed, e.g. rtsp://user:password@10.0.0.5/main.")],
    seconds: Annotated[float, typer.Option(metavar="N", min=1, max=3600, help="How long to look at it.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at a feed: its tracks, how well they come, which browsers will play it, and what to change.

    Ends with exit code 1 when the feed cannot be opened or breaks.
    """
    from headrace_standalone.check import check

    try:
        code = check(uri, seconds, as_json)
    except ConfigurationError as error:
        tell(PROGRAM, error)
        code = EXIT_CONFIGURATION
    raise typer.Exit(code)


@app.command()
def streams(api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """List the streams of the cluster and the nodes that carry them (token in HEADRACE_TOKEN)."""
    _list("streams", api, as_json)


@app.command()
def nodes(
    api: ApiOption = DEFAULT_API,
    why: Annotated[
        str | None, typer.Option(metavar="STREAM", help="Tell how nodes rank their parents for that stream, and why.")
    ] = None,
    of: Annotated[
        str | None, typer.Option(metavar="NODE", help="With --why: of that node; else of all that carry the stream.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the nodes of the cluster (token in HEADRACE_TOKEN).

    With --why the registry is asked (registry.url of the settings), not the control API.
    """
    if why is None:
        if of is not None:
            raise ConfigurationError("--of: goes with --why STREAM")
        _list("nodes", api, as_json)
        return
    from headrace_standalone.why import why as explain

    explain(_stream(why, "--why"), _node(of, "--of") if of else None, config, os.environ, as_json)


@app.command()
def drain(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="The node that is to be left.", autocompletion=completion.nodes)
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Ask it no more.")] = False,
    api: OtherApiOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a node give its children and viewers to others, before it is stopped.

    They move first and miss nothing. The node takes nothing new and stays up, idle, until it is stopped or --undo. The
    order stands in the registry and holds also for a node that starts again. It is given by way of the control API
    with --api (token in HEADRACE_TOKEN), else written there (registry.url of the settings).
    """
    from headrace_standalone.orders import drain

    drain(_node(node, "NODE"), undo, api, config, os.environ).show(as_json)


@app.command()
def move(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="STREAM", help="The stream that is to come from elsewhere.", autocompletion=completion.streams
        ),
    ],
    to: Annotated[
        str | None, typer.Option(metavar="NODE", help="Where it is to be fetched.", autocompletion=completion.nodes)
    ] = None,
    child: Annotated[
        str | None, typer.Option(metavar="NODE", help="Who is to fetch it there; without, every node that can.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Leave the choice to the nodes again.")] = False,
    api: OtherApiOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a live stream come from another node; the new one delivers before the old one is left.

    It holds while that node is there and has room. Without --child and to an ingress, the source itself is moved. The
    order stands in the registry. It is given by way of the control API with --api (token in HEADRACE_TOKEN), else
    written there (registry.url of the settings).
    """
    if undo == (to is not None):
        raise ConfigurationError("--to: name the node that the stream is to come from, or --undo, not both")
    from headrace_standalone.orders import move

    parent, asker = (_node(text, where) if text else None for text, where in ((to, "--to"), (child, "--child")))
    move(_stream(stream, "STREAM"), parent, asker, undo, api, config, os.environ).show(as_json)


@app.command()
def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    print(json.dumps({"version": VERSION}) if as_json else f"{PROGRAM} {VERSION}")


def main() -> None:
    """Run the command line; end with 0, 1 (run time) or 2 (configuration)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # help and tables have lines that not every terminal can show
    try:
        app(prog_name=PROGRAM)
    except ConfigurationError as error:
        _tell(error)
        sys.exit(EXIT_CONFIGURATION)
    except StartupError as error:
        _tell(error)
        sys.exit(EXIT_FAILURE)


def _tell(error: Exception) -> None:
    tell(PROGRAM, Exception(mask_uris(str(error))))  # an address that was given may hold a password


def _list(kind: str, api: str, as_json: bool) -> None:
    from headrace_standalone.api import ask_all
    from headrace_standalone.listing import list_console, show_nodes, show_streams

    document = ask_all(api, kind, os.environ)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        show = {"streams": show_streams, "nodes": show_nodes}[kind]
        show(list_console(), document.get(kind, []))


def _sources(texts: list[str]) -> dict[StreamName, dict[str, str]]:
    named: dict[StreamName, dict[str, str]] = {}
    for name, source in map(_source, texts):
        if name in named:
            raise ConfigurationError(f"--source: stream {name} is named twice")
        named[name] = source
    return named


def _source(text: str) -> tuple[StreamName, dict[str, str]]:
    name, equals, uri = text.partition("=")
    if not equals or not uri:
        raise ConfigurationError("--source: NAME=URI is expected, for example cam1=rtsp://10.0.0.5/main")
    return _stream(name, "--source"), {"uri": uri}


def _node(text: str, where: str) -> NodeId:
    try:
        return node_id(text)
    except InvalidName as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _stream(text: str, where: str) -> StreamName:
    try:
        return stream_name(text)
    except InvalidName as error:
        raise ConfigurationError(f"{where}: {error}") from error


if __name__ == "__main__":
    main()
