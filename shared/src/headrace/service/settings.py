"""Settings of all services and how they are read; see docs/configuration.md."""

from headrace.service.edge_groups import AccessSettings, EdgeSettings
from headrace.service.groups import (
    ControlApiSettings,
    IntermediateSettings,
    LogSettings,
    NodeSettings,
    RegistrySettings,
    RelaySettings,
    RingSettings,
    Settings,
)
from headrace.service.ingress_groups import IngressSettings, PackagerSettings, SourceSettings
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
