"""`headrace up`, in one process or in many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from headrace.http.listener import HttpListener, format_address
from headrace.service.runtime import Component, Runtime, run
from headrace.service.settings import Settings
from headrace_standalone.addresses import show_addresses

PROGRAM = "headrace"


def up_in_one(settings: Settings) -> int:
    """Run everything in this process; return the exit code."""
    from headrace_edge.workers.ports import SharedPort
    from headrace_standalone.app import ROLE, build

    listeners: list[HttpListener | SharedPort] = []

    def build_and_note(settings: Settings, runtime: Runtime) -> Sequence[Component]:
        components = build(settings, runtime)
        listeners.extend(part for part in components if isinstance(part, HttpListener | SharedPort))
        return components

    def ready() -> None:
        listening = {
            listener.name: f"{listener.scheme}://{format_address(listener.host, listener.bound_port)}"
            for listener in listeners
        }
        show_addresses(Console(), settings.ingress.sources, listening)

    return run(PROGRAM, ROLE, settings, build_and_note, ready)


def up_in_processes(settings: Settings, config: Path | None, intermediates: int) -> int:
    """Run the services as processes of their own; return the exit code."""
    # Neither media nor servers are imported here: the children do that, and all at once.
    from headrace_standalone.processes import Processes

    built: list[Processes] = []

    def build_processes(settings: Settings, runtime: Runtime) -> Sequence[Component]:
        built.append(Processes(settings, runtime, config, intermediates))
        return built

    def ready() -> None:
        show_addresses(Console(), settings.ingress.sources, built[0].listening)

    return run(PROGRAM, "supervisor", settings, build_processes, ready)
