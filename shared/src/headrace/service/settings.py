"""Settings of all services and how they are read; see docs/configuration.md."""

from headrace.service.groups import (
    AccessSettings,
    ControlApiSettings,
    EdgeSettings,
    IngressSettings,
    IntermediateSettings,
    LogSettings,
    NodeSettings,
    PackagerSettings,
    RegistrySettings,
    RelaySettings,
    RingSettings,
    Settings,
    SourceSettings,
)
from headrace.service.loading import load_settings

__all__ = [
    "AccessSettings",
    "ControlApiSettings",
    "EdgeSettings",
    "IngressSettings",
    "IntermediateSettings",
    "LogSettings",
    "NodeSettings",
    "PackagerSettings",
    "RegistrySettings",
    "RelaySettings",
    "RingSettings",
    "Settings",
    "SourceSettings",
    "load_settings",
]
