"""The OpenAPI 3.1 document of an interface, made from its operations and their models. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from headrace.http.operations import Api, Model, Nothing, Operation
from headrace.http.problems import PROBLEM_JSON
from headrace.http.request_ids import REQUEST_ID

OPENAPI_VERSION = "3.1.0"

Document = dict[str, Any]

_REF = "#/components/schemas/{model}"


class ProblemField(Model):
    """What is wrong with one value of a request."""

    field: str = Field(description="Where it stands: `query.limit`, `path.name`, `body.uris.0`.")
    detail: str = Field(description="What is wrong, for people.")


class ProblemDocument(Model):
    """Why a request was not answered (RFC 9457)."""

    type: str = Field(description="Always `about:blank`: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The status.")
    detail: str | None = Field(default=None, description="What is wrong, for people.")
    errors: list[ProblemField] | None = Field(default=None, description="Each value that is wrong.")


def openapi(api: Api) -> Document:
    """Return the document."""
    schemas = _schemas(api.operations)
    paths: Document = {}
    for operation in api.operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": api.title, "version": api.version, "description": api.description},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def problems_of(operation: Operation) -> dict[int, str]:
    """Return every status of a problem that the operation may answer, and when."""
    found = {
        401: "A token is needed, or this one is not known.",
        429: "Too many requests; `Retry-After` says after how many seconds to ask again.",
        403: f"The token does not allow `{operation.scope}`, or, without configured tokens, it is not this machine.",
    }
    if any(model is not Nothing for model in (operation.path_model, operation.query_model, operation.body_model)):
        found[400] = "A value is wrong; `errors` says which."
    else:
        found[400] = "There is a query, and this takes none."
    if operation.body_model is not Nothing:
        found[413] = "The body is too large."
        found[415] = "The body is not JSON, or is encoded (`Content-Encoding`)."
    return dict(sorted((found | dict(operation.problems)).items()))


def _operation(operation: Operation) -> Document:
    document: Document = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_parameters(operation.path_model, "path"), *_parameters(operation.query_model, "query")],
        "responses": _responses(operation),
        "x-scope": operation.scope,
    }
    for name, schema in operation.headers:
        document["parameters"].append(_header(name, **schema))
    if operation.description:
        document["description"] = operation.description
    if operation.has_etag:
        document["parameters"].append(_header("If-None-Match", "An ETag: what did not change since is not sent."))
    if operation.body_model is not Nothing:
        content = {"application/json": {"schema": _reference(operation.body_model)}}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _header(name: str, description: str, **schema: Any) -> Document:
    shape = {"type": "string", **schema}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": shape}


def _responses(operation: Operation) -> Document:
    headers = {REQUEST_ID: {"description": "Names the request in the log.", "schema": {"type": "string"}}}
    good: Document = {"description": HTTPStatus(operation.status).phrase, "headers": dict(headers)}
    if operation.answer is not None:
        good["content"] = {operation.media_type: {"schema": _reference(operation.answer)}}
    elif operation.status != HTTPStatus.NO_CONTENT:
        good["content"] = {operation.media_type: {"schema": {"type": "string"}}}
    responses: Document = {str(operation.status): good}
    if operation.has_etag:
        good["headers"]["ETag"] = {"description": "Give it back in If-None-Match.", "schema": {"type": "string"}}
        responses["304"] = {"description": "It is what you have.", "headers": headers}
    for status, when in problems_of(operation).items():
        content = {PROBLEM_JSON: {"schema": _reference(ProblemDocument)}}
        responses[str(status)] = {"description": when, "headers": headers, "content": content}
    return responses


def _parameters(model: type[BaseModel], where: str) -> list[Document]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": where,
            "required": where == "path" or name in required,
            "description": value.get("description", ""),
            "schema": _inline(value, definitions),
        }
        for name, value in schema.get("properties", {}).items()
    ]


def _inline(schema: Any, definitions: Document) -> Any:
    """Return a parameter's schema in one piece, without what is told beside it, and without `null`."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {
        key: _inline(value, definitions)
        for key, value in schema.items()
        if key not in {"description", "title"} and not (key == "default" and value is None)
    }
    choices = kept.get("anyOf", [])
    return {**choices[0], **{k: v for k, v in kept.items() if k != "anyOf"}} if len(choices) == 1 else kept


def _schemas(operations: Sequence[Operation]) -> Document:
    read = {op.body_model for op in operations if op.body_model is not Nothing}
    written = {op.answer for op in operations if op.answer is not None} | {ProblemDocument}
    ordered = sorted(read, key=lambda m: m.__name__), sorted(written, key=lambda m: m.__name__)
    _, definitions = models_json_schema(
        [*((model, "validation") for model in ordered[0]), *((model, "serialization") for model in ordered[1])],
        ref_template=_REF,
    )
    return {name: _tidy(schema) for name, schema in sorted(definitions["$defs"].items())}


def _tidy(schema: Document) -> Document:
    """Return a schema without the titles that only repeat names, its description on one line.

    Members that are `None` are left out of answers, so those with a default are not required there.
    """
    tidy = {key: value for key, value in schema.items() if key != "title"}
    if "description" in tidy:
        tidy["description"] = re.sub(r"\s+", " ", tidy["description"]).strip()
    for value in tidy.get("properties", {}).values():
        value.pop("title", None)
    nullable = {name for name, value in tidy.get("properties", {}).items() if value.get("default", ...) is None}
    if "required" in tidy:
        tidy["required"] = [name for name in tidy["required"] if name not in nullable]
    return tidy


def _reference(model: type[BaseModel]) -> Document:
    return {"$ref": _REF.format(model=model.__name__)}
