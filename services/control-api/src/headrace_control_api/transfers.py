"""The engine of transfers: what both faces of the API ask for, and the records that it becomes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from headrace.clock import Clock, microseconds
from headrace.identifiers import InvalidName, NodeId, StreamName, stream_name
from headrace.registry.claims import Claim
from headrace.registry.desired import (
    Desired,
    DesiredConflict,
    DesiredKey,
    DesiredKind,
    DesiredLimit,
    DesiredSource,
    DesiredTransfer,
    desired_key,
)
from headrace.registry.leases import StoreAway
from headrace.registry.records import InvalidRecord
from headrace.registry.registry import Registry
from headrace.registry.sealing import Uri
from headrace.registry.transfers import (
    FINAL,
    OPTION_KEY,
    OPTION_REMOTE_NAME,
    OPTION_TRANSFER,
    Transfer,
    TransferStatus,
    find_requested,
    find_transfer,
    pull_id,
    push_id,
    transfers,
    view,
)
from headrace_control_api.addresses import CARRIERS, WHEP, WHIP, BadAddress, check_address

BY: Final = "api"

SETTLE_SECONDS: Final = 2.0
"""How long an answer waits for the first word of who carries a transfer out: it may be that it cannot be done."""

LOOK_SECONDS: Final = 0.05
"""How often it looks meanwhile, beside when something changes."""

RESERVED_SECONDS: Final = 0.5
"""How long a key stays reserved once its transfer is written: longer than others take to hear of that."""

RESERVE_WAIT_SECONDS: Final = 5.0
"""How long a request waits for another with the same key: longer than that one takes."""

STATUS_OF_CODE: Final = {
    "unsupported": 501,
    "name_in_use": 409,
    "forbidden": 400,
    "refused": 400,  # the key or secret in the address
    "loop": 400,
    "bad_address": 400,
}
"""How it is answered that a transfer cannot be carried out; anything else is 500."""


class Refused(Exception):
    """A request that is not done.

    Attributes:
        status: as in HTTP.
        field: what of the request is wrong; empty for none.
    """

    def __init__(self, status: int, text: str, field: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.field = field


class NotCarried(Refused):
    """A request that who was to carry it out says cannot be done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A transfer that is asked for.

    Attributes:
        kind: `pull` or `push`.
        uri: as given.
        local_name, remote_name: as given; the remote one may be empty.
        region: where it had better run.
        key: the asker's own, empty for none.
    """

    kind: Literal["pull", "push"]
    uri: str
    local_name: str
    remote_name: str = ""
    region: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """Makes, lists and ends transfers; all replicas of the API may at once.

    Attributes:
        registry: where records stand.
        clock: of this process.
        settle_seconds: see `SETTLE_SECONDS`.
    """

    registry: Registry
    clock: Clock
    settle_seconds: float = SETTLE_SECONDS

    def all(self) -> list[Transfer]:
        """Return every transfer, by id."""
        return transfers(self.registry.desired, self.registry.claims)

    def find(self, id: str) -> Transfer | None:
        """Return the transfer of this id."""
        return find_transfer(self.registry.desired, self.registry.claims, id)

    async def begin(self, wanted: Wanted) -> tuple[Transfer, bool]:
        """Have a transfer made; return it, and whether it is new.

        Waits a moment for who carries it out: what cannot be done leaves no record.

        Raises:
            Refused: 400, 404, 409, 500, 501 or 503, with a cause.
        """
        record = self._record(wanted)
        if not wanted.key:
            return await self._make(wanted, record)
        reserved = await self._reserve(wanted, record)
        if isinstance(reserved, Transfer):
            return reserved, False
        try:
            began = self.clock.monotonic()
            made = await self._make(wanted, record)
            await asyncio.sleep(max(0.0, RESERVED_SECONDS - (self.clock.monotonic() - began)))
            return made
        finally:
            await self.registry.release(reserved)

    async def _make(self, wanted: Wanted, record: DesiredSource | DesiredTransfer) -> tuple[Transfer, bool]:
        key = desired_key(record)
        if (before := self._sent_before(wanted, record)) is not None:
            return before, False
        await self._forget_stopped(key)
        self._check_free(wanted, key)
        try:
            revision = await self.registry.put_desired(record, expect=0)
        except DesiredConflict:
            return await self._lost(wanted, record, key), False
        except DesiredLimit as error:
            raise Refused(409, f"{error}.") from None
        except InvalidRecord as error:
            raise Refused(400, str(error), "uri") from None
        except StoreAway as error:
            raise Refused(503, f"The store does not answer: {error}") from None
        return await self._settle(key, revision), True

    async def end(self, found: Iterable[Transfer]) -> int:
        """Have transfers end on both sides; return how many there were.

        Raises:
            Refused: 503.
        """
        ended = 0
        try:
            for transfer in found:
                ended += await self.registry.drop_desired(transfer.key)
        except StoreAway as error:
            raise Refused(503, f"The store does not answer: {error}") from None
        return ended

    # -- inside ---------------------------------------------------------------------------------------------------

    def _record(self, wanted: Wanted) -> DesiredSource | DesiredTransfer:
        name = _stream(wanted.local_name, "local_name")
        uri = self._uri(wanted)
        if uri.scheme.startswith("headrace"):
            self._check_node(wanted, uri)
        remote = _remote_name(wanted, uri)
        since_us, options = microseconds(self.clock.utc()), {}
        if wanted.key:
            options[OPTION_KEY] = wanted.key
        if wanted.kind == "push":
            id = push_id(uri, name, remote, self.registry.tag)
            return DesiredTransfer(
                id=id,
                kind="push",
                uri=uri,
                local_name=name,
                remote_name=remote,
                region=wanted.region,
                options=options,
                by=BY,
                since_us=since_us,
            )
        options |= {OPTION_TRANSFER: pull_id(name), OPTION_REMOTE_NAME: remote}
        return DesiredSource(
            stream=name, uris=(uri,), region=wanted.region, options=options, by=BY, since_us=since_us, loop=False
        )

    def _uri(self, wanted: Wanted) -> Uri:
        try:
            uri = check_address(wanted.uri, wanted.kind, self.registry.nodes.values())
        except BadAddress as error:
            raise Refused(400, _sentence(str(error)), "uri") from None
        if uri.scheme in WHIP and wanted.kind == "push":
            raise Refused(501, "Pushing by WHIP needs WebRTC, which is not there yet.", "uri")
        if uri.scheme in WHIP and WHEP in urlsplit(uri.reveal()).path.lower().split("/"):
            raise Refused(501, "Pulling by WHEP needs WebRTC, which is not there yet.", "uri")
        return uri

    def _check_node(self, wanted: Wanted, uri: Uri) -> None:
        parts = urlsplit(uri.reveal())
        if "@" in parts.netloc:
            raise Refused(400, "An address of a node of this cluster holds no user and no password.", "uri")
        node = parts.netloc
        known = self.registry.nodes.get(NodeId(node))
        if known is None:
            raise Refused(404, f"There is no node {node[:64]!r} in this cluster.", "uri")
        if wanted.kind == "push" and known.role not in CARRIERS["pull"]:
            raise Refused(400, f"Node {node} is no ingress: streams are pushed to one.", "uri")

    def _sent_before(self, wanted: Wanted, record: Desired) -> Transfer | None:
        """Return the transfer that an earlier request with the same key made."""
        if not wanted.key:
            return None
        before = find_requested(self.registry.desired, self.registry.claims, wanted.key)
        if before is not None and not _is_same(before, record):
            raise Refused(409, "The same key was used for another transfer.", "key")
        return before

    async def _reserve(self, wanted: Wanted, record: Desired) -> Transfer | Claim:
        """Return what an earlier request with the same key made, or the claim on the key: nobody else makes any then.

        Raises:
            Refused: 409, 503.
        """
        lock = request_lock(wanted.key)
        deadline = self.clock.monotonic() + RESERVE_WAIT_SECONDS
        while (before := self._sent_before(wanted, record)) is None:
            if lock not in self.registry.claims and (claim := await self._claim(lock)) is not None:
                return claim
            if self.clock.monotonic() >= deadline:
                raise Refused(409, "Another request with the same key is being answered.", "key")
            await asyncio.sleep(LOOK_SECONDS)
        return before

    async def _claim(self, lock: DesiredKey) -> Claim | None:
        try:
            return await self.registry.claim(lock, NodeId(BY), lambda claim: None)
        except ValueError:
            return None  # another request to this very replica
        except StoreAway as error:
            raise Refused(503, f"The store does not answer: {error}") from None

    async def _forget_stopped(self, key: DesiredKey) -> None:
        """Make room where a transfer was that is over, and wait until who carried it let go of it.

        Raises:
            Refused: 503.
        """
        entry = self.registry.desired.get(key)
        before = None if entry is None else view(key, entry, self.registry.claims.get(key))
        if entry is None or before is None or before.status is not TransferStatus.STOPPED:
            return
        try:
            await self.registry.drop_desired(key, expect=entry.revision)
        except DesiredConflict:
            return
        except StoreAway as error:
            raise Refused(503, f"The store does not answer: {error}") from None
        await self._until_let_go(key)

    async def _until_let_go(self, key: DesiredKey) -> None:
        """Wait until who carried a transfer out that is gone has let go of it, and of its stream if it is a pull."""
        deadline = self.clock.monotonic() + min(self.settle_seconds, SETTLE_SECONDS)
        while self.clock.monotonic() < deadline:
            stream = self.registry.streams.get(StreamName(key.name)) if key.kind is DesiredKind.SOURCE else None
            if key not in self.registry.claims and (stream is None or stream.state == "ended"):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _check_free(self, wanted: Wanted, key: DesiredKey) -> None:
        stream = self.registry.streams.get(StreamName(wanted.local_name))
        if key in self.registry.desired:
            raise Refused(409, _taken(wanted))
        if wanted.kind == "pull" and stream is not None and stream.state != "ended":
            raise Refused(409, f"The stream {wanted.local_name} is published by {stream.node} already.", "local_name")
        if wanted.kind == "push" and stream is None:
            raise Refused(404, f"There is no stream {wanted.local_name}.", "local_name")

    async def _lost(self, wanted: Wanted, record: Desired, key: DesiredKey) -> Transfer:
        """Somebody else asked first: return its transfer if it is the same request, sent again."""
        deadline = self.clock.monotonic() + self.settle_seconds
        while wanted.key and self.clock.monotonic() < deadline:
            entry = self.registry.desired.get(key)
            if entry is not None:
                before = view(key, entry, self.registry.claims.get(key))
                if before is not None and before.request_key == wanted.key and _is_same(before, record):
                    return before
                break
            await asyncio.sleep(LOOK_SECONDS)
        raise Refused(409, _taken(wanted))

    async def _settle(self, key: DesiredKey, revision: int) -> Transfer:
        """Return the transfer once its carrier said something, or the time is over.

        Raises:
            NotCarried: when the carrier says that it cannot be done; its record is gone then.
        """
        deadline = self.clock.monotonic() + self.settle_seconds
        while True:
            entry = self.registry.desired.get(key)
            found = None if entry is None else view(key, entry, self.registry.claims.get(key))
            if found is not None and found.is_final:
                await self._forget(key, revision)
                code = found.code.removeprefix(FINAL)
                raise NotCarried(STATUS_OF_CODE.get(code, 500), _sentence(found.info), "uri")
            if found is not None and (found.status.value not in {"NEW", "PENDING"}):
                return found
            if self.clock.monotonic() >= deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if found is None:
            raise Refused(404, "The transfer was ended meanwhile.")
        return found

    async def _forget(self, key: DesiredKey, revision: int) -> None:
        try:
            await self.registry.drop_desired(key, expect=revision)
        except (StoreAway, DesiredConflict):
            return
        await self._until_let_go(key)


def request_lock(key: str) -> DesiredKey:
    """Return what is claimed by who makes the transfer of a request with this key; no record stands behind it."""
    return DesiredKey(DesiredKind.TRANSFER, f"request-{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}")


def _remote_name(wanted: Wanted, uri: Uri) -> str:
    """Return the stream's name there: as asked, or of the address, or the same as here."""
    remote = wanted.remote_name
    if uri.scheme.startswith("headrace") and (path := unquote(urlsplit(wanted.uri).path.lstrip("/"))):
        remote = path
    return _stream(remote or wanted.local_name, "remote_name")


def _stream(name: str, field: str) -> StreamName:
    try:
        return stream_name(name)
    except InvalidName as error:
        raise Refused(400, str(error), field) from None


def _is_same(before: Transfer, record: Desired) -> bool:
    match record:
        case DesiredSource():
            asked = ("pull", record.uris[0], record.stream, record.options.get(OPTION_REMOTE_NAME))
        case DesiredTransfer():
            asked = ("push", record.uri, record.local_name, record.remote_name)
        case _:
            return False
    return asked == (before.kind, before.uri, before.local_name, before.remote_name)


def _taken(wanted: Wanted) -> str:
    if wanted.kind == "pull":
        return f"There is a source of {wanted.local_name} already."
    return "This stream is pushed there already."


def _sentence(text: str) -> str:
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else "It cannot be carried out."
