"""Reading what a request says into models, with each fault told by the field it is in."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from headrace.http.problems import FieldError, Problem

JSON = "application/json"

ERRORS_MAX = 20
"""Most faults told of one request: a body of thousands of wrong values needs no thousand sentences."""

FIELD_MAX_CHARACTERS = 128
"""Longest name of a field that is repeated: it is the asker's own text."""

M = TypeVar("M", bound=BaseModel)


def read_path(model: type[M], request: web.Request) -> M:
    """Return the names in the path.

    Raises:
        Problem: 400, when one breaks a rule.
    """
    return _validate(model, "path", dict(request.match_info))


def read_query(model: type[M], request: web.Request) -> M:
    """Return the query.

    Raises:
        Problem: 400, when a name is unknown or comes twice, or a value breaks a rule.
    """
    twice = {name for name in request.query if len(request.query.getall(name)) > 1}
    if twice:
        raise _refuse([FieldError(_field("query", name), "it is given more than once") for name in sorted(twice)])
    return _validate(model, "query", dict(request.query))


async def read_body(model: type[M], request: web.Request) -> M:
    """Return the JSON body.

    Raises:
        Problem: 400 when it is no JSON or not as declared, 415 when it says that it is something else than JSON.
        HTTPRequestEntityTooLarge: when it is longer than the application takes.
    """
    if request.content_type != JSON:
        raise Problem(415, f"The body must be {JSON}, and say so in Content-Type.")
    body = await request.read()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refuse(_errors("body", error)) from None


def _validate(model: type[M], where: str, values: dict[str, str]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refuse(_errors(where, error)) from None


def _errors(where: str, error: ValidationError) -> list[FieldError]:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:ERRORS_MAX]
    return [FieldError(_field(where, *map(str, one["loc"])), one["msg"]) for one in found]


def _field(*parts: str) -> str:
    return ".".join(parts)[:FIELD_MAX_CHARACTERS]


def _refuse(errors: list[FieldError]) -> Problem:
    first = errors[0]
    return Problem(400, f"{first.field}: {first.detail}", errors=errors)
