"""The node's settings as its workers get them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Secret, SecretStr

from headrace.service.settings import Settings


def plain(settings: Settings, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return settings as a document that `Settings.model_validate` reads, secrets included, with `changes` by group."""
    document: dict[str, Any] = _plain(settings)
    for group, values in changes.items():
        document[group] |= values
    return document


def _plain(value: Any) -> Any:
    match value:
        case Secret() | SecretStr():
            return value.get_secret_value()
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)
