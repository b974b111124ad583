"""Operations on sources that the cluster was asked to fetch: desired records, carried out by the ingress nodes."""

from __future__ import annotations

from headrace.clock import Clock, microseconds
from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import FieldError, Problem
from headrace.identifiers import StreamName
from headrace.registry.desired import (
    DesiredConflict,
    DesiredEntry,
    DesiredKey,
    DesiredKind,
    DesiredLimit,
    DesiredSource,
)
from headrace.registry.leases import StoreAway
from headrace.registry.records import ClaimRecord, InvalidRecord
from headrace.registry.registry import Registry
from headrace.registry.transfers import OPTION_SLATE
from headrace_control_api.addresses import BadAddress, check_address
from headrace_control_api.models import StreamPath
from headrace_control_api.source_models import NewSource, SlateWord, SourceList, SourceQuery, SourceView

AWAY = {503: "The registry's store does not answer; whether it was done is unknown when it was asked."}


def add_sources(api: Api, registry: Registry, clock: Clock) -> None:
    """Add the operations."""

    @api.operation("GET", "/sources", tag="sources", query=SourceQuery, answer=SourceList)
    async def list_sources(call: Call[Nothing, SourceQuery, Nothing]) -> SourceList:
        """List the sources that the cluster was asked to fetch.

        Those that only one node's configuration names are not among them.
        """
        return list_page(registry, call.query)

    @api.operation(
        "POST",
        "/streams/{name}",
        tag="sources",
        scope="write",
        path_model=StreamPath,
        body=NewSource,
        answer=SourceView,
        status=201,
        problems={409: "The name is in use, or there are as many sources as there may be.", **AWAY},
    )
    async def add_source(call: Call[StreamPath, Nothing, NewSource]) -> SourceView:
        """Have a stream fetched and published.

        One ingress takes it on, and another when that one dies, until it is deleted. Addresses of private networks are
        fetched only by nodes whose `ingress.allow_networks` names them, files only from `ingress.file_roots`. An
        address that no ingress may fetch is refused at once; a name and a file are judged by the ingress, when it is
        resolved or opened: then `status` of the source says so.
        """
        return await _add(registry, clock, StreamName(call.path.name), call.body)

    @api.operation(
        "DELETE",
        "/streams/{name}",
        tag="sources",
        scope="write",
        path_model=StreamPath,
        status=204,
        problems={404: "There is no such source.", 409: "The source is one of a node's own configuration.", **AWAY},
    )
    async def delete_source(call: Call[StreamPath, Nothing, Nothing]) -> None:
        """Fetch a stream no more."""
        await _delete(registry, StreamName(call.path.name))


def list_page(registry: Registry, query: SourceQuery) -> SourceList:
    """Return a page of those that are asked for."""
    found = {
        key: entry
        for key, entry in registry.desired.items()
        if isinstance(entry.record, DesiredSource)
        and key.name.startswith(query.prefix)
        and query.node in (None, _node(registry, key))
    }
    rest = sorted((key for key in found if key.name > query.after), key=lambda key: key.name)
    page = rest[: query.limit]
    shown = [
        show_source(entry.record, entry, registry.claims.get(key))
        for key, entry in ((key, found[key]) for key in page)
        if isinstance(entry.record, DesiredSource)
    ]
    return SourceList(sources=shown, total=len(found), next=page[-1].name if len(rest) > len(page) else None)


def show_source(record: DesiredSource, entry: DesiredEntry, claim: ClaimRecord | None) -> SourceView:
    """Return a source as it is shown: its addresses without credentials, and who fetches it."""
    return SourceView(
        name=record.stream,
        uris=[str(uri) for uri in record.uris],
        transport=record.transport,
        loop=record.loop,
        slate=_slate(record.options.get(OPTION_SLATE)),
        region=record.region,
        by=record.by,
        since_us=record.since_us,
        revision=entry.revision,
        node=None if claim is None else claim.node,
        status="waiting" if claim is None else claim.status or "starting",
        detail=None if claim is None else claim.detail or None,
    )


async def _add(registry: Registry, clock: Clock, name: StreamName, wanted: NewSource) -> SourceView:
    key = _key(name)
    record = _record(registry, name, wanted, microseconds(clock.utc()))
    if key in registry.desired:
        raise Problem(409, f"There is a source of {name} already.")
    if (stream := registry.streams.get(name)) is not None and stream.state != "ended":
        raise Problem(409, f"The stream {name} is published by {stream.node} already.")
    try:
        revision = await registry.put_desired(record, expect=0)
    except DesiredConflict:
        raise Problem(409, f"There is a source of {name} already.") from None
    except DesiredLimit as error:
        raise Problem(409, f"{error}.") from None
    except InvalidRecord as error:
        raise Problem(400, str(error), errors=[FieldError("body.uris", str(error))]) from None
    except StoreAway as error:
        raise Problem(503, f"The store does not answer: {error}") from None
    return show_source(record, DesiredEntry(record, revision, b""), registry.claims.get(key))


async def _delete(registry: Registry, name: StreamName) -> None:
    key = _key(name)
    was_asked_for = key in registry.desired or key in registry.claims
    try:
        there = await registry.drop_desired(key)
    except StoreAway as error:
        raise Problem(503, f"The store does not answer: {error}") from None
    if there:
        return
    stream = registry.streams.get(name)
    # One that was asked for a moment ago was ended by somebody else, though its stream still stands.
    if stream is not None and stream.state != "ended" and not was_asked_for:
        raise Problem(409, f"The source of {name} stands in the configuration of {stream.node}: end it there.")
    raise Problem(404, f"There is no source of {name}.")


def _record(registry: Registry, name: StreamName, wanted: NewSource, since_us: int) -> DesiredSource:
    uris, errors = [], []
    for number, text in enumerate(wanted.uris):
        try:
            uris.append(check_address(text, "source", registry.nodes.values()))
        except BadAddress as error:
            errors.append(FieldError(f"body.uris.{number}", str(error)))
    if errors:
        raise Problem(400, f"{errors[0].field}: {errors[0].detail}", errors=errors)
    return DesiredSource(
        stream=name,
        uris=tuple(uris),
        transport=wanted.transport,
        loop=wanted.loop,
        region=wanted.region,
        options={} if wanted.slate is None else {OPTION_SLATE: wanted.slate},
        by="api",
        since_us=since_us,
    )


def _slate(word: str | None) -> SlateWord | None:
    match word:
        case "none" | "built-in":
            return word
    return None


def _node(registry: Registry, key: DesiredKey) -> str | None:
    claim = registry.claims.get(key)
    return None if claim is None else claim.node


def _key(name: StreamName) -> DesiredKey:
    return DesiredKey(DesiredKind.SOURCE, name)
