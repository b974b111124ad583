"""Operations on transfers: `/api/v1/transfers`."""

from __future__ import annotations

from aiohttp import web

from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import FieldError, Problem
from headrace.registry.transfers import FINAL, Transfer
from headrace_control_api.transfer_models import (
    KEY_MAX_CHARACTERS,
    NewTransfer,
    TransferList,
    TransferPath,
    TransferQuery,
    TransferView,
)
from headrace_control_api.transfers import Engine, Refused, Wanted

AWAY = {503: "The registry's store does not answer; whether it was done is unknown when it was asked."}

KEY_HEADER = "Idempotency-Key"


def add_transfers(api: Api, engine: Engine) -> None:
    """Add the operations."""

    @api.operation("GET", "/transfers", tag="transfers", query=TransferQuery, answer=TransferList)
    async def list_transfers(call: Call[Nothing, TransferQuery, Nothing]) -> TransferList:
        """List the transfers of the cluster, by id."""
        return list_page(engine.all(), call.query)

    @api.operation(
        "POST",
        "/transfers",
        tag="transfers",
        scope="write",
        body=NewTransfer,
        answer=TransferView,
        status=201,
        headers={
            KEY_HEADER: {
                "description": "Your own key for this request; where the body has a `key` too, the same.",
                "maxLength": KEY_MAX_CHARACTERS,
                "pattern": r"^[!-~]*$",  # empty is none
            }
        },
        problems={
            404: "There is no such stream, or no such node.",
            409: "The name is in use here or there, the same transfer is there, or there are as many as there may be.",
            500: "It was tried and cannot be carried out; the detail says why.",
            501: "What the address needs is not there yet, for example WebRTC.",
            **AWAY,
        },
    )
    async def begin_transfer(call: Call[Nothing, Nothing, NewTransfer]) -> TransferView:
        """Have a stream come from, or go to, another server.

        One node carries it out, and another when that one dies, until it is deleted. The answer waits up to two
        seconds for that node's first word: what cannot be done leaves nothing behind. What may work later is tried
        again and again.
        """
        asked = call.body
        wanted = Wanted(
            asked.kind,
            asked.uri,
            asked.local_name,
            asked.remote_name or "",
            asked.region,
            _key(call.request, asked.key),
        )
        try:
            transfer, _ = await engine.begin(wanted)
        except Refused as refused:
            raise _problem(refused) from None
        return show_transfer(transfer)

    @api.operation(
        "GET",
        "/transfers/{id}",
        tag="transfers",
        path_model=TransferPath,
        answer=TransferView,
        problems={404: "There is no such transfer."},
    )
    async def show_one_transfer(call: Call[TransferPath, Nothing, Nothing]) -> TransferView:
        """Show a transfer."""
        return show_transfer(_find(engine, call.path.id))

    @api.operation(
        "DELETE",
        "/transfers/{id}",
        tag="transfers",
        scope="write",
        path_model=TransferPath,
        status=204,
        problems={404: "There is no such transfer.", **AWAY},
    )
    async def end_transfer(call: Call[TransferPath, Nothing, Nothing]) -> None:
        """End a transfer, on both sides."""
        try:
            if not await engine.end([_find(engine, call.path.id)]):
                raise Problem(404, f"There is no transfer {call.path.id}.")
        except Refused as refused:
            raise _problem(refused) from None


def list_page(found: list[Transfer], query: TransferQuery) -> TransferList:
    """Return a page of those that are asked for."""
    wanted = [
        one
        for one in found
        if query.kind in (None, one.kind)
        and query.status in (None, one.status.value)
        and query.local_name in (None, one.local_name)
        and query.node in (None, one.node)
    ]
    rest = [one for one in wanted if one.id > query.after]
    page = rest[: query.limit]
    following = page[-1].id if len(rest) > len(page) else None
    return TransferList(transfers=[show_transfer(one) for one in page], total=len(wanted), next=following)


def show_transfer(transfer: Transfer) -> TransferView:
    """Return a transfer as it is shown: its address without credentials."""
    return TransferView(
        id=transfer.id,
        kind=transfer.kind,
        uri=str(transfer.uri),
        local_name=transfer.local_name,
        remote_name=transfer.remote_name,
        status=transfer.status.value,
        info=transfer.info or None,
        code=transfer.code.removeprefix(FINAL) or None,
        final=transfer.is_final,
        local_session=transfer.local_session,
        remote_session=transfer.remote_session or None,
        node=transfer.node or None,
        region=transfer.region,
        by=transfer.by,
        since_us=transfer.since_us,
        revision=transfer.revision,
    )


def _find(engine: Engine, id: str) -> Transfer:
    found = engine.find(id)
    if found is None:
        raise Problem(404, f"There is no transfer {id}.")
    return found


def _key(request: web.Request, given: str | None) -> str:
    header = request.headers.get(KEY_HEADER, "").strip().strip('"')
    if len(header) > KEY_MAX_CHARACTERS or not all("!" <= character <= "~" for character in header):
        text = f"header.{KEY_HEADER}: up to {KEY_MAX_CHARACTERS} printable characters are allowed"
        raise Problem(400, text, errors=[FieldError(f"header.{KEY_HEADER}", text)])
    if given and header and given != header:
        text = f"header.{KEY_HEADER}: it is another than the key in the body"
        raise Problem(400, text, errors=[FieldError(f"header.{KEY_HEADER}", text)])
    return given or header


def _problem(refused: Refused) -> Problem:
    errors = [FieldError(f"body.{refused.field}", str(refused))] if refused.field and refused.status == 400 else []
    return Problem(refused.status, str(refused), errors=errors)
