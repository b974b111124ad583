"""An HTTP interface whose operations are declared once, with models of what is asked and what is answered.

From the declaration come the checks of a request, the shape of its answer, the OpenAPI document and the pages for
people. A handler gets values that are already checked and returns a model; what it cannot do it tells by raising
`Problem`, with a status that it declared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import hdrs, web
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from headrace.http.problems import Problem
from headrace.http.reading import read_body, read_path, read_query

JSON = "application/json"


class Model(BaseModel):
    """What is asked or answered: unknown members are refused, values are not guessed at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Query(BaseModel):
    """The query of a request: text that is read as numbers and words."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Stands last in the annotation of an integer in a body: to JSON Schema 1.0 is one too."""


def worded(sentence: str) -> WrapValidator:
    """Stands last in the annotation of a text with a pattern: says in words what the pattern asks for."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] != "string_pattern_mismatch":
                raise
            raise PydanticCustomError("pattern", "{sentence}", {"sentence": sentence}) from None

    return WrapValidator(check)


class Nothing(Model):
    """No values at all."""


P = TypeVar("P", bound=BaseModel)
Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[P, Q, B]):
    """One request whose values are checked.

    Attributes:
        request: for headers and for writing a stream.
        path, query, body: as declared; `Nothing` where nothing was.
    """

    request: web.Request
    path: P
    query: Q
    body: B


Answer = BaseModel | web.StreamResponse | None
Handler = Callable[[Call[Any, Any, Any]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        name: of the handler; names the operation in OpenAPI.
        method, path: where; `{names}` in the path are members of `path_model`.
        handler: does it.
        summary, description: the first line of the handler's docstring, and the rest.
        tag: groups operations.
        scope: what a token must allow.
        path_model, query_model, body_model: what is read; `Nothing` when nothing is.
        answer: the model of the answer; `None` when it has no body or is no JSON.
        headers: what is read of the request's headers: a JSON Schema of its text, with a description.
        status: of the answer when all went well.
        media_type: of the answer.
        problems: what else may be answered, beside what every operation may, and when.
    """

    name: str
    method: str
    path: str
    handler: Handler
    summary: str
    description: str
    tag: str
    scope: str
    path_model: type[BaseModel]
    query_model: type[BaseModel]
    body_model: type[BaseModel]
    answer: type[BaseModel] | None
    headers: tuple[tuple[str, dict[str, Any]], ...]
    status: int
    media_type: str
    problems: tuple[tuple[int, str], ...]

    @property
    def has_etag(self) -> bool:
        """Whether its answers have an ETag and may be `304 Not Modified`."""
        return self.method == hdrs.METH_GET and self.answer is not None

    async def answer_request(self, request: web.Request) -> web.StreamResponse:
        """Check the request, run the handler and make its answer.

        Raises:
            Problem: when the request is not as declared, or the handler says so.
        """
        path = read_path(self.path_model, request)
        query = read_query(self.query_model, request)
        body = Nothing() if self.body_model is Nothing else await read_body(self.body_model, request)
        answer = await self.handler(Call(request, path, query, body))
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return web.Response(status=self.status)
        return self._json(request, answer)

    def _json(self, request: web.Request, answer: BaseModel) -> web.Response:
        body = answer.model_dump_json(exclude_none=True).encode() + b"\n"
        headers = {hdrs.CACHE_CONTROL: "private, no-cache" if self.has_etag else "no-store"}
        if self.has_etag:
            headers[hdrs.ETAG] = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            if _matches(request.headers.get(hdrs.IF_NONE_MATCH, ""), headers[hdrs.ETAG]):
                return web.Response(status=304, headers=headers)
        return web.Response(status=self.status, body=body, content_type=JSON, headers=headers)


class Api:
    """Operations below one path.

    Args:
        prefix: what every path begins with, for example `/api/v1`.
        title, description: for people.
        version: of the interface.
    """

    def __init__(self, prefix: str, title: str, version: str, description: str) -> None:
        self.prefix = prefix
        self.title = title
        self.version = version
        self.description = description
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        *,
        tag: str,
        scope: str = "read",
        path_model: type[BaseModel] = Nothing,
        query: type[BaseModel] = Nothing,
        body: type[BaseModel] = Nothing,
        answer: type[BaseModel] | None = None,
        headers: dict[str, dict[str, Any]] | None = None,
        status: int = 200,
        media_type: str = JSON,
        problems: dict[int, str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare that the decorated function answers `method` at `prefix` + `path`; see `Operation`."""

        def declare(handler: Handler) -> Handler:
            text = (handler.__doc__ or "").strip()
            summary, _, description = text.partition("\n\n")
            self.operations.append(
                Operation(
                    name=handler.__name__,
                    method=method,
                    path=self.prefix + path,
                    handler=handler,
                    summary=" ".join(summary.split()).removesuffix("."),
                    description=" ".join(description.split()),
                    tag=tag,
                    scope=scope,
                    path_model=path_model,
                    query_model=query,
                    body_model=body,
                    answer=answer,
                    headers=tuple((headers or {}).items()),
                    status=status,
                    media_type=media_type,
                    problems=tuple((problems or {}).items()),
                )
            )
            return handler

        return declare

    def routes(self, may: Callable[[web.Request, str], Problem | None]) -> list[web.RouteDef]:
        """Return the routes; `may` says why a request may not do what needs a scope, `None` when it may."""
        return [web.route(op.method, op.path, _route(op, may)) for op in self.operations]


def _route(
    operation: Operation, may: Callable[[web.Request, str], Problem | None]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            if refusal := may(request, operation.scope):
                raise refusal
            return await operation.answer_request(request)
        except Problem as problem:
            return problem.answer()

    return answer


def _matches(header: str, etag: str) -> bool:
    """Return whether `If-None-Match` names the ETag (RFC 9110, section 13.1.2: weak comparison)."""
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))
