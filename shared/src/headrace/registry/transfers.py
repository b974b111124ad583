"""Transfers: streams that come from or go to other servers, as records of the registry. Pure.

A pull is a desired source, whose name is the stream's here: so a name has one source, however many ask for it at once.
A push is a desired transfer whose id is made of what is asked for: so nothing is pushed twice. How each does stands on
its claim, in the words of whoever carries it out; here they become the statuses that are told.
"""

from __future__ import annotations

import enum
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from headrace.identifiers import Epoch, StreamName
from headrace.registry.desired import DesiredEntry, DesiredKey, DesiredKind, DesiredSource, DesiredTransfer
from headrace.registry.records import ClaimRecord
from headrace.registry.sealing import Uri

PULL: Final = "pull"
PUSH: Final = "push"

OPTION_TRANSFER: Final = "transfer"
"""The option of a desired source that says that it is a pull; its value is the transfer's id."""

OPTION_REMOTE_NAME: Final = "remote_name"
"""The option that holds the stream's name on the other server."""

OPTION_KEY: Final = "key"
"""The option that holds the asker's own key for the request, so that it may be sent again."""

OPTION_STOPPED: Final = "stopped"
"""The option of a push that is not carried out any more: why. It stays so, whoever might carry it out next."""

OPTION_SLATE: Final = "slate"
"""Of a source: what fills in while it is away; one of the words of `ingress.slate`."""

OPTION_PUBLISHER: Final = "publisher"
"""The option of a desired source that another cluster pushes here: who."""

PUSHED: Final = "pushed:"
"""The address of such a source."""

FINAL: Final = "final_"
"""What the `code` among a claim's facts begins with when trying again is of no use."""

_NAMESPACE: Final = uuid.UUID("5a1f0d3e-3c53-5d7c-9b0a-4f6f1d2c8e70")


class TransferStatus(enum.Enum):
    """How a transfer does, in the words of WCS."""

    NEW = "NEW"
    """Nobody carries it out yet."""
    PENDING = "PENDING"
    """It is being carried out, and no media flows yet."""
    PROCESSED_REMOTE = "PROCESSED_REMOTE"
    """Media flows."""
    FAILED = "FAILED"
    """It came to nothing so far; `info` says why. It is tried again unless that is of no use."""
    STOPPED = "STOPPED"
    """It is over: the stream has ended, or the other side ended it."""


class Flow(enum.Enum):
    """How a push does, in its carrier's words."""

    WAITING = "waiting"
    LIVE = "live"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as it stands.

    Attributes:
        key: of its desired record.
        id: its own.
        kind: `pull` or `push`.
        uri: the other server.
        local_name, remote_name: the stream here and there.
        status: how it does.
        info: more of that, for people; empty for nothing.
        code: why it failed, in a word; empty for nothing.
        remote_session: the id of its end there; empty while it is not known.
        node: who carries it out; empty for nobody.
        region: where it had better run.
        request_key: the asker's own.
        by, since_us: who asked, and when (UTC in microseconds since 1970).
        revision: of its record.
    """

    key: DesiredKey
    id: str
    kind: Literal["pull", "push"]
    uri: Uri
    local_name: str
    remote_name: str
    status: TransferStatus
    info: str
    code: str
    remote_session: str
    node: str
    region: str
    request_key: str
    by: str
    since_us: int
    revision: int

    @property
    def local_session(self) -> str:
        """The id of its end here."""
        return str(uuid.uuid5(_NAMESPACE, self.id))

    @property
    def is_final(self) -> bool:
        """Whether it failed in a way that trying again does not help."""
        return self.status is TransferStatus.FAILED and self.code.startswith(FINAL)


def session_id(stream: str, epoch: Epoch | int) -> str:
    """Return the id of a publication as a session: the same wherever it is asked, another for each epoch."""
    return str(uuid.uuid5(_NAMESPACE, f"{stream}@{epoch}"))


def push_id(uri: Uri, local_name: str, remote_name: str, tag: Callable[[str], str]) -> str:
    """Return the id of a push: of two askers for the same one, each comes to the same.

    It is shown to whoever may read, so `tag` (`Registry.tag`) keeps the address's credentials from being guessed by it.
    """
    return f"push-{tag(chr(0).join((uri.reveal(), local_name, remote_name)))}"


def pull_id(local_name: str) -> str:
    """Return the id of a pull, which its name here makes unique."""
    return f"pull-{hashlib.blake2b(local_name.encode(), digest_size=12).hexdigest()}"


def transfers(desired: Mapping[DesiredKey, DesiredEntry], claims: Mapping[DesiredKey, ClaimRecord]) -> list[Transfer]:
    """Return all transfers, by id."""
    found = (view(key, entry, claims.get(key)) for key, entry in desired.items())
    return sorted((one for one in found if one is not None), key=lambda one: one.id)


def find_transfer(
    desired: Mapping[DesiredKey, DesiredEntry], claims: Mapping[DesiredKey, ClaimRecord], id: str
) -> Transfer | None:
    """Return the transfer of this id."""
    key = DesiredKey(DesiredKind.TRANSFER, id)
    if key in desired:
        return view(key, desired[key], claims.get(key))
    return _first(desired, claims, OPTION_TRANSFER, id)


def find_requested(
    desired: Mapping[DesiredKey, DesiredEntry], claims: Mapping[DesiredKey, ClaimRecord], request_key: str
) -> Transfer | None:
    """Return the transfer that was asked for under this key."""
    return _first(desired, claims, OPTION_KEY, request_key)


def _first(
    desired: Mapping[DesiredKey, DesiredEntry], claims: Mapping[DesiredKey, ClaimRecord], option: str, value: str
) -> Transfer | None:
    for key, entry in desired.items():
        record = entry.record
        if isinstance(record, DesiredSource | DesiredTransfer) and record.options.get(option) == value:
            return view(key, entry, claims.get(key))
    return None


def count_transfers(
    desired: Mapping[DesiredKey, DesiredEntry], claims: Mapping[DesiredKey, ClaimRecord]
) -> Mapping[tuple[str, TransferStatus], int]:
    """Return how many transfers there are by kind and status."""
    found: Counter[tuple[str, TransferStatus]] = Counter()
    for key, entry in desired.items():
        match entry.record:
            case DesiredSource() as record if OPTION_TRANSFER in record.options:
                found[PULL, _pull_status(claims.get(key))[0]] += 1
            case DesiredTransfer() as record:
                found[PUSH, _push_status(claims.get(key), record.options.get(OPTION_STOPPED))[0]] += 1
    return found


def pull_key(local_name: StreamName) -> DesiredKey:
    """Return the key of the record of a pull."""
    return DesiredKey(DesiredKind.SOURCE, local_name)


def view(key: DesiredKey, entry: DesiredEntry, claim: ClaimRecord | None) -> Transfer | None:
    """Return what a desired record and its claim say as a transfer; `None` when it is none."""
    record = entry.record
    match record:
        case DesiredSource() if OPTION_TRANSFER in record.options:
            kind, uri, local, options = "pull", record.uris[0], record.stream, record.options
            remote = options.get(OPTION_REMOTE_NAME, "")
            status, info, code = _pull_status(claim)
            id, region = options[OPTION_TRANSFER], record.region
        case DesiredTransfer():
            kind, uri, local, options = record.kind, record.uri, record.local_name, record.options
            remote, id, region = record.remote_name, record.id, record.region
            status, info, code = _push_status(claim, options.get(OPTION_STOPPED))
        case _:
            return None
    facts = claim.facts if claim is not None else {}
    return Transfer(
        key=key,
        id=id,
        kind="pull" if kind == "pull" else "push",
        uri=uri,
        local_name=local,
        remote_name=remote,
        status=status,
        info=info,
        code=code,
        remote_session=facts.get("remote_session", ""),
        node=claim.node if claim is not None else "",
        region=region,
        request_key=options.get(OPTION_KEY, ""),
        by=record.by,
        since_us=record.since_us,
        revision=entry.revision,
    )


def _pull_status(claim: ClaimRecord | None) -> tuple[TransferStatus, str, str]:
    """Return status, info and code of a pull, whose claim tells the state of its stream."""
    if claim is None:
        return TransferStatus.NEW, "", ""
    code = claim.facts.get("code", "")
    match claim.status:
        case "live":
            return TransferStatus.PROCESSED_REMOTE, claim.detail, ""
        case "ended":
            return TransferStatus.STOPPED, claim.detail, ""
        case "interrupted" if code:
            return TransferStatus.FAILED, claim.detail, code
    return TransferStatus.PENDING, claim.detail, code


def _push_status(claim: ClaimRecord | None, stopped: str | None) -> tuple[TransferStatus, str, str]:
    if stopped is not None:
        return TransferStatus.STOPPED, stopped, ""
    if claim is None:
        return TransferStatus.NEW, "", ""
    code = claim.facts.get("code", "")
    match claim.status:
        case Flow.LIVE.value:
            return TransferStatus.PROCESSED_REMOTE, claim.detail, ""
        case Flow.STOPPED.value:
            return TransferStatus.STOPPED, claim.detail, ""
        case Flow.FAILED.value:
            return TransferStatus.FAILED, claim.detail, code
    return TransferStatus.PENDING, claim.detail, ""
