"""`headrace up --processes`: every service as a process of its own, and whoever looks after them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from headrace.service.children import Child, ChildSpec, inherited_environment
from headrace.service.loading import CONFIG_VARIABLE, variable_name
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace_standalone.child import program_command, service_command
from headrace_standalone.folder import OwnFolder
from headrace_standalone.store import answers, find_server, server_command

READY_SECONDS = 30.0
"""How long a process may take until it is ready: starting several Pythons on one busy core takes seconds."""

log = structlog.get_logger(__name__)


class Processes:
    """All children, as one component: the store first, then the services at once; ended in reverse.

    Args:
        settings: what this process was told; children read the same file and environment, and what is added here.
        runtime: whose clock and checks are used.
        config: the configuration file, if any.
        intermediates: how many intermediates stand between ingress and edge, in a chain.
    """

    def __init__(self, settings: Settings, runtime: Runtime, config: Path | None, intermediates: int) -> None:
        self._runtime = runtime
        self._folder = OwnFolder()
        self._own_store = settings.registry.url == "memory:"
        socket = self._folder.path / "store.sock"
        url = f"unix://{socket}" if self._own_store else settings.registry.url
        environ = child_environment(settings, config, url)
        clock = runtime.clock
        self.store = Child(_store_spec(socket), clock) if self._own_store else None
        self.services = [Child(spec, clock) for spec in service_specs(environ, intermediates)]
        self._tasks: list[asyncio.Task[None]] = []
        runtime.health.add("processes", self._complaint)

    @property
    def listening(self) -> Mapping[str, str]:
        """Every address that a service told to listen on; of intermediates the last one's."""
        return {name: address for child in self.services for name, address in child.listening.items()}

    async def start(self) -> None:
        """Start everything; when one fails, all end again.

        Raises:
            ConfigurationError, StartupError: as the process that failed said.
        """
        try:
            if self.store is not None:
                await self.store.start(READY_SECONDS)
            await _start_all(self.services)
        except BaseException:
            await self.stop()
            raise
        for child in self._children():
            self._tasks.append(self._runtime.spawn(f"look-after-{child.spec.name}", child.look_after()))

    async def stop(self) -> None:
        """End everything, the store last."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(child.end() for child in self.services))
        if self.store is not None:
            await self.store.end()
        self._folder.remove()

    def _children(self) -> Sequence[Child]:
        return [self.store, *self.services] if self.store is not None else self.services

    def _complaint(self) -> str | None:
        away = [child.spec.name for child in self._children() if not child.running]
        return f"not running: {', '.join(away)}" if away else None


async def _start_all(children: Sequence[Child]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.start(READY_SECONDS))
    except ExceptionGroup as failures:
        # The first one is told; the others are mostly its consequences.
        raise failures.exceptions[0] from None


def _store_spec(socket: Path) -> ChildSpec:
    command = program_command(server_command(find_server(), socket))
    return ChildSpec("store", command, inherited_environment(), partial(answers, socket))


def child_environment(settings: Settings, config: Path | None, registry_url: str) -> dict[str, str]:
    """Return the environment that all services share: what `headrace up` was told, a common store and secret."""
    environ = inherited_environment()
    if config is not None:
        environ[CONFIG_VARIABLE] = str(config.absolute())
    environ[variable_name("registry", "url")] = registry_url
    secret = settings.relay.secret.get_secret_value() or secrets.token_urlsafe(32)
    environ[variable_name("relay", "secret")] = secret
    environ[variable_name("log", "format")] = "json"
    environ[variable_name("log", "level")] = settings.log.level
    environ[variable_name("ingress", "sources")] = _sources(settings)
    environ[variable_name("edge", "workers")] = str(settings.edge.workers)
    return environ


def _sources(settings: Settings) -> str:
    return json.dumps(
        {
            name: source.model_dump(mode="json") | {"uri": source.uri.get_secret_value()}
            for name, source in settings.ingress.sources.items()
        }
    )


def service_specs(environ: Mapping[str, str], intermediates: int) -> list[ChildSpec]:
    """Return the services, each with its own name, layer and port."""

    def spec(role: str, module: str, number: int = 1, **variables: str) -> ChildSpec:
        name = f"{role}-{number}"
        own = {variable_name("node", "id"): name, **variables}
        return ChildSpec(name, service_command(f"headrace_{module}.app"), {**environ, **own})

    chain = [
        spec("intermediate", "intermediate", number, **_place_in_chain(number))
        for number in range(1, intermediates + 1)
    ]
    return [spec("ingress", "ingress"), *chain, spec("edge", "edge"), spec("control-api", "control_api")]


def _place_in_chain(number: int) -> dict[str, str]:
    layer = {variable_name("node", "layer"): str(number)}
    # Only the first can have the configured port; nodes find the others through the registry.
    return layer if number == 1 else {**layer, variable_name("intermediate", "port"): "0"}
