"""Settings in force, written as the TOML file that would give them, secrets masked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.service.groups import Settings
from headrace.telemetry.masking import MASK


def settings_as_toml(settings: Settings) -> str:
    """Return all settings as TOML; what is secret stands as `***`, what is absent as a comment."""
    document: Mapping[str, Mapping[str, Any]] = settings.model_dump(mode="json")
    return "\n".join(_table(name, group) for name, group in document.items())


def _table(name: str, values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"[{name}]", *(_line(key, value) for key, value in plain.items()), ""]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [_table(f"{name}.{key}.{_key(inner)}", table) for inner, table in value.items()]
    return "\n".join(lines)


def _line(key: str, value: Any) -> str:
    return f"# {key} is not set" if value is None else f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    # JSON and TOML write text, numbers, truth and lists of them alike.
    return json.dumps(value, ensure_ascii=False).replace("**********", MASK)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else json.dumps(key)
