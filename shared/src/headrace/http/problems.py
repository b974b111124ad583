"""Errors of HTTP interfaces as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one value of a request.

    Attributes:
        field: where it stands: `query.limit`, `body.uris.0`, `path.name`; or `body` as a whole.
        detail: a sentence for people.
    """

    field: str
    detail: str


class Problem(Exception):
    """Ends a request with a problem document.

    Attributes:
        status: the HTTP status.
        detail: a sentence for people, without credentials.
        errors: the values that are wrong.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def answer(self) -> web.Response:
        """Return the problem document."""
        return problem(self.status, self.detail, errors=self.errors, headers=self.headers)


def problem(
    status: int,
    detail: str = "",
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a response that says what went wrong, for programs and people alike."""
    document: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        document["detail"] = detail
    if errors:
        document["errors"] = [{"field": error.field, "detail": error.detail} for error in errors]
    return web.Response(
        status=status, text=json.dumps(document) + "\n", content_type=PROBLEM_JSON, headers=dict(headers or {})
    )
