"""The registry that the settings name."""

from __future__ import annotations

from headrace.errors import ConfigurationError
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.registry import Registry, make_registry
from headrace.registry.sealing import Vault
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings


def make_own_registry(settings: Settings, runtime: Runtime, *, whole: bool = False) -> Registry:
    """Return the registry that the settings name; with `whole` it knows every edge, however many there are.

    Raises:
        ConfigurationError: when its URL cannot be used.
    """
    wanted = settings.registry
    metrics = RegistryMetrics.make(runtime.metrics)
    vault = Vault([settings.relay.secret.get_secret_value()])
    try:
        return make_registry(
            wanted.url, wanted.prefix, wanted.lease_seconds, runtime.clock, metrics, vault, whole=whole
        )
    except ValueError as error:
        raise ConfigurationError(f"registry.url: {error}") from error
