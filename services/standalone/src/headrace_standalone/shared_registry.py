"""A look into the registry that a cluster shares, for commands that talk to it themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from headrace.clock import SystemClock
from headrace.errors import ConfigurationError, StartupError
from headrace.registry.desired import DesiredLimit
from headrace.registry.leases import StoreAway
from headrace.registry.records import InvalidRecord
from headrace.registry.registry import Registry, make_registry
from headrace.registry.sealing import Vault
from headrace.service.settings import Settings, load_settings
from headrace.telemetry.logging import configure_logging

NOT_SHARED = (
    "registry.url: this command needs the store that the nodes share, and 'memory:' is one process's own; name it with "
    "--config or HEADRACE_REGISTRY__URL, as the nodes do ('headrace up' without --processes has none); 'drain' and "
    "'move' can ask a control API instead: --api or HEADRACE_API"
)

T = TypeVar("T")


def with_registry(config: Path | None, environ: Mapping[str, str], act: Callable[[Registry], Awaitable[T]]) -> T:
    """Return what `act` returns, given the registry that the settings name, read once.

    Raises:
        ConfigurationError: when the settings are wrong or name no store that is shared.
        StartupError: when the store does not answer, or refuses what was asked.
    """
    settings = load_settings(config, environ)
    if settings.registry.url == "memory:":
        raise ConfigurationError(NOT_SHARED)
    configure_logging("error", "console")
    return asyncio.run(_with_registry(settings, act))


async def _with_registry(settings: Settings, act: Callable[[Registry], Awaitable[T]]) -> T:
    registry = _registry(settings)
    await registry.start()
    try:
        if not registry.connected:
            raise StartupError(f"the registry cannot be asked: {registry.status}")
        return await act(registry)
    except (StoreAway, DesiredLimit, InvalidRecord) as error:
        raise StartupError(f"the registry did not take it: {error}") from error
    finally:
        await registry.close()


def _registry(settings: Settings) -> Registry:
    group = settings.registry
    vault = Vault([settings.relay.secret.get_secret_value()])
    try:
        return make_registry(group.url, group.prefix, group.lease_seconds, SystemClock(), None, vault, whole=True)
    except ValueError as error:
        raise ConfigurationError(f"registry.url: {error}") from None
