"""Reading settings from a file, the environment and the command line, and saying clearly what is wrong with them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.errors import ConfigurationError
from headrace.service.complaints import complaint
from headrace.service.group import Group
from headrace.service.groups import Settings

PREFIX = "HEADRACE_"
"""What every environment variable of ours begins with."""

CONFIG_VARIABLE = "HEADRACE_CONFIG"
"""Names the configuration file where the command line does not."""

PLAIN_VARIABLES = frozenset(
    {CONFIG_VARIABLE, "HEADRACE_TOKEN", "HEADRACE_API", "HEADRACE_API_TOKEN", "HEADRACE_RELAY_SECRET"}
)
"""Variables that are no settings: the file's name, what the command line's clients use, what Compose reads."""

# What Kubernetes sets in every pod for a Service whose name begins with `headrace-`.
_SERVICE_LINK = re.compile(r"HEADRACE_[A-Z0-9]+(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")

Location = tuple[str | int, ...]


@dataclass(slots=True)
class _Gathered:
    """Raw values with the place each came from."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, location: tuple[str, str], value: Any, origin: str) -> None:
        group = self.values.setdefault(location[0], {})
        if isinstance(group, dict):
            group[location[1]] = value
        self.origins[location] = origin


def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings: defaults, below the file, below the environment, below `overrides`.

    Args:
        path: a TOML file; `None` means the one that HEADRACE_CONFIG names, if any.
        environ: the environment; `HEADRACE_<GROUP>__<NAME>` is setting `<name>` of `<group>`, empty means not set.
        overrides: groups of settings from the command line; tables in it are added to those given elsewhere.

    Raises:
        ConfigurationError: with one sentence on a line for each problem.
    """
    named = environ.get(CONFIG_VARIABLE)
    path = path or (Path(named) if named else None)
    gathered = _Gathered()
    if path is not None:
        _gather_file(path, gathered)
    _gather_environment(environ, gathered)
    gathered.values = _merged(gathered.values, overrides or {})
    settings = _validated(gathered)
    if settings is None or gathered.problems:
        raise ConfigurationError("\n".join(gathered.problems))
    return settings


def variable_name(group: str, name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{group.upper()}__{name.upper()}"


def _validated(gathered: _Gathered) -> Settings | None:
    try:
        return Settings.model_validate(gathered.values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            gathered.problems.append(complaint(details, gathered.origins))
        return None


def _gather_file(path: Path, gathered: _Gathered) -> None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from error
    gathered.values = document
    for group, values in document.items():
        gathered.origins[group,] = f"{path}: {group}"
        for name in values if isinstance(values, dict) else ():
            gathered.origins[group, name] = f"{path}: {group}.{name}"


def _gather_environment(environ: Mapping[str, str], gathered: _Gathered) -> None:
    known = {variable_name(*location): location for location in settings_by_location()}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in PLAIN_VARIABLES or _SERVICE_LINK.fullmatch(variable):
            continue
        if variable not in known:
            gathered.problems.append(_unknown_variable(variable, [*known, *PLAIN_VARIABLES]))
        elif text:
            _gather_variable(variable, text, known[variable], gathered)


def _gather_variable(variable: str, text: str, location: tuple[str, str], gathered: _Gathered) -> None:
    value: Any = text
    if _is_container(location) and (text.lstrip().startswith(("{", "[")) or _is_table(location)):
        try:
            value = json.loads(text)
        except ValueError as error:
            # The text itself may hold credentials: only where it stops being JSON is told.
            place = f"character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else "its digits"
            gathered.problems.append(f"{variable}: is not valid JSON at {place}")
            return
    elif _is_container(location):
        value = [part.strip() for part in text.split(",")]
    gathered.put(location, value, variable)


def _unknown_variable(variable: str, known: list[str]) -> str:
    near = get_close_matches(variable, known, n=1, cutoff=0.7)
    return f"{variable}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def settings_by_location() -> dict[tuple[str, str], Any]:
    """Return every setting's field by group and name, in the order of declaration."""
    return {(group, name): info for group, model in group_models().items() for name, info in model.model_fields.items()}


def group_models() -> dict[str, type[Group]]:
    """Return the model of each group by its name."""
    fields = Settings.model_fields.items()
    return {name: info.annotation for name, info in fields if isinstance(info.annotation, type)}


def _is_container(location: tuple[str, str]) -> bool:
    return isinstance(settings_by_location()[location].get_default(call_default_factory=True), list | dict)


def _is_table(location: tuple[str, str]) -> bool:
    return isinstance(settings_by_location()[location].get_default(call_default_factory=True), dict)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
