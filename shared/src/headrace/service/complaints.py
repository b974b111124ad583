"""Sentences about wrong settings: where, what was found, what is allowed; never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from headrace.service.groups import Settings
from headrace.telemetry.masking import is_secret_name, mask_uris

FOUND_MAX_CHARACTERS = 60
"""Longest value that is repeated in a sentence."""

_ALLOWED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "path_type": "a path",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


def complaint(details: ErrorDetails, origins: Mapping[tuple[str | int, ...], str]) -> str:
    """Return one sentence about one problem that pydantic found.

    Args:
        details: the problem.
        origins: where values came from, by location: a file with a name, or a variable.
    """
    location = tuple(part for part in details["loc"] if part != "[key]")
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"{_label(location, origins)}: there is no such setting{_suggestion(location)}"
    if kind == "missing":
        return f"{_label(location, origins)}: is missing"
    if kind == "value_error":
        # A wrong key of a table is named by the sentence itself.
        where = _label(location[:-1] if "[key]" in details["loc"] else location, origins)
        return f"{where}: {details['ctx']['error']}"
    allowed = _ALLOWED.get(kind, "").format(**details.get("ctx", {})) or details["msg"]
    found = "" if _is_secret(location) else _found(details["input"])
    return f"{_label(location, origins)}: {allowed} is expected{found}"


def _label(location: tuple[str | int, ...], origins: Mapping[tuple[str | int, ...], str]) -> str:
    for length in range(len(location), 0, -1):
        origin = origins.get(location[:length])
        if origin is not None:
            rest = ".".join(map(str, location[length:]))
            joint = "." if "." in origin or ": " in origin else ": "
            return f"{origin}{joint}{rest}" if rest else origin
    return ".".join(map(str, location))


def _found(value: Any) -> str:
    match value:
        case str() if len(value) <= FOUND_MAX_CHARACTERS:
            return f", not {mask_uris(value)!r}"
        case bool():
            return f", not {str(value).lower()}"
        case int() | float():
            return f", not {value}"
        case dict():
            return ", not a table"
        case list():
            return ", not a list"
    return ""


def _is_secret(location: tuple[str | int, ...]) -> bool:
    return any(is_secret_name(str(part)) or part in {"uri", "url"} for part in location)


def _suggestion(location: tuple[str | int, ...]) -> str:
    *parents, wrong = map(str, location)
    near = get_close_matches(wrong, _names_below(parents), n=1, cutoff=0.7)
    return f"; did you mean {'.'.join([*parents, near[0]])}?" if near else ""


def _names_below(parents: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in parents:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return ["uri", "transport", "loop"] if parents[:2] == ["ingress", "sources"] else []
        model = field.annotation
    return list(model.model_fields)
