"""The command line that the service programs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.service.groups import Settings
from headrace.service.loading import load_settings
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
    parser.add_argument("--show-config", action="store_true", help="print the settings in force, secrets masked")
    parser.add_argument("--version", action="version", version=f"{program} {VERSION}")
    options = parser.parse_args(arguments)
    settings = load_settings(options.config, environ)
    if options.show_config:
        print(settings_as_toml(settings), end="")
        sys.exit(0)
    return settings
