"""The command line that the service programs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError
from headrace.service.groups import Settings
from headrace.service.loading import group_models, load_settings
from headrace.service.showing import settings_as_toml
from headrace.version import VERSION

_EPILOG = """\
Every setting can come from the file or from the environment: HEADRACE_<GROUP>__<NAME>, for
example HEADRACE_LOG__LEVEL=debug or HEADRACE_REGISTRY__URL=redis://localhost:6379/0. The
environment wins. docs/configuration.md lists all settings. Exit code 2 means a wrong
configuration, 1 a failure at run time.
"""


def read_command_line(program: str, role: str, environ: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """Return the settings that the command line, the environment and the file give; answer --show-config and --help.

    Raises:
        ConfigurationError: when they are wrong.
        SystemExit: when the command line itself is wrong (2), or was a question that has been answered (0).
    """
    parser = argparse.ArgumentParser(
        program,
        description=f"Run a Headrace {role} node until SIGINT or SIGTERM.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with settings (or HEADRACE_CONFIG)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes of an edge or ingress (edge.workers, …)")
    parser.add_argument("--show-config", action="store_true", help="print the settings in force, secrets masked")
    parser.add_argument("--version", action="version", version=f"{program} {VERSION}")
    options = parser.parse_args(arguments)
    settings = load_settings(options.config, environ, _overrides(role, options.workers))
    if options.show_config:
        print(settings_as_toml(settings), end="")
        sys.exit(0)
    return settings


def _overrides(role: str, workers: int | None) -> dict[str, Any] | None:
    """Return what the command line says of settings.

    Raises:
        ConfigurationError: when the program has no workers.
    """
    if workers is None:
        return None
    if "workers" not in group_models()[role.replace("-", "_")].model_fields:
        raise ConfigurationError(
            f"--workers: edges and ingresses have workers; run another {role} on this machine, with a port and node.id "
            "of its own, and the cluster spreads its work over both"
        )
    return {role: {"workers": workers}}
