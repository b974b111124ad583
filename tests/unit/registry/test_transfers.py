"""Transfers as their records tell them."""

from __future__ import annotations

import time

import pytest

from headrace.registry.desired import DesiredEntry, DesiredKey, DesiredKind, DesiredSource, DesiredTransfer
from headrace.registry.records import ClaimRecord
from headrace.registry.sealing import Uri, Vault
from headrace.registry.transfers import (
    OPTION_STOPPED,
    OPTION_TRANSFER,
    TransferStatus,
    count_transfers,
    find_transfer,
    pull_id,
    push_id,
    transfers,
    view,
)

URI = Uri("ws://there.example")
PULL = DesiredSource(stream="a", uris=(URI,), options={OPTION_TRANSFER: pull_id("a"), "remote_name": "b"})
PUSH = DesiredTransfer(id=push_id(URI, "a", "b", Vault().tag), kind="push", uri=URI, local_name="a", remote_name="b")
PULL_KEY, PUSH_KEY = DesiredKey(DesiredKind.SOURCE, "a"), DesiredKey(DesiredKind.TRANSFER, PUSH.id)


def entry(record: DesiredSource | DesiredTransfer) -> DesiredEntry:
    return DesiredEntry(record, 1, b"")


def claim(status: str, code: str = "", detail: str = "") -> ClaimRecord:
    return ClaimRecord(claim="x:y", node="n1", status=status, detail=detail, facts={"code": code} if code else {})


@pytest.mark.parametrize(
    ("record", "key", "claimed", "status"),
    [
        (PULL, PULL_KEY, None, "NEW"),
        (PULL, PULL_KEY, claim(""), "PENDING"),
        (PULL, PULL_KEY, claim("interrupted"), "PENDING"),
        (PULL, PULL_KEY, claim("interrupted", "refused"), "FAILED"),
        (PULL, PULL_KEY, claim("live"), "PROCESSED_REMOTE"),
        (PULL, PULL_KEY, claim("ended"), "STOPPED"),
        (PUSH, PUSH_KEY, None, "NEW"),
        (PUSH, PUSH_KEY, claim("waiting"), "PENDING"),
        (PUSH, PUSH_KEY, claim("live"), "PROCESSED_REMOTE"),
        (PUSH, PUSH_KEY, claim("failed", "lost"), "FAILED"),
        (PUSH, PUSH_KEY, claim("stopped"), "STOPPED"),
    ],
)
def test_statuses(
    record: DesiredSource | DesiredTransfer, key: DesiredKey, claimed: ClaimRecord | None, status: str
) -> None:
    """The carrier's word becomes one of five."""
    seen = view(key, entry(record), claimed)
    assert seen is not None
    assert (seen.status.value, seen.local_name, seen.remote_name, seen.is_final) == (status, "a", "b", False)
    counted = count_transfers({key: entry(record)}, {} if claimed is None else {key: claimed})
    assert counted == {(seen.kind, seen.status): 1}


def test_ten_thousand_are_counted_soon() -> None:
    """Whoever reads the metrics does not stop the loop: a tenth of a second would be ten times what it takes."""
    plain = DesiredSource(stream="cam", uris=(URI,))
    desired = {DesiredKey(DesiredKind.SOURCE, f"s{number}"): entry(PULL) for number in range(10_000)}
    claims = {key: claim("live") for key in desired}
    began = time.process_time()
    counted = count_transfers({**desired, DesiredKey(DesiredKind.SOURCE, "cam"): entry(plain)}, claims)
    assert counted == {("pull", TransferStatus.PROCESSED_REMOTE): 10_000}
    assert time.process_time() - began < 0.2


def test_what_is_final_and_what_is_stopped() -> None:
    """A code that begins so is final; what is noted as stopped stays so, whoever carried it."""
    seen = view(PUSH_KEY, entry(PUSH), claim("failed", "final_name_in_use"))
    assert seen is not None
    assert seen.is_final
    stopped = DesiredTransfer(id="x", kind="push", uri=URI, local_name="a", options={OPTION_STOPPED: "it ended"})
    seen = view(PUSH_KEY, entry(stopped), None)
    assert seen is not None
    assert (seen.status.value, seen.info) == ("STOPPED", "it ended")
    assert view(PULL_KEY, entry(DesiredSource(stream="a", uris=(URI,))), None) is None


def test_an_id_tells_no_credentials() -> None:
    """The id of a push is the same for one secret, and another for another one."""
    target = Uri("ws://k:secret@there.example")
    one, same, other = (push_id(target, "a", "b", Vault([secret]).tag) for secret in ("s1", "s1", "s2"))
    assert one == same
    assert one != other
    assert one != push_id(target, "a", "c", Vault(["s1"]).tag)


def test_ten_thousand() -> None:
    """As many as there may be of each kind are listed in order, in well under a second on a busy machine."""
    desired = {}
    for number in range(10_000):
        name = f"s{number}"
        source = DesiredSource(stream=name, uris=(URI,), options={OPTION_TRANSFER: pull_id(name)})
        desired[DesiredKey(DesiredKind.SOURCE, name)] = entry(source)
    began = time.perf_counter()
    found = transfers(desired, {})
    assert time.perf_counter() - began < 5
    assert [one.id for one in found] == sorted(pull_id(f"s{number}") for number in range(10_000))
    one = find_transfer(desired, {}, pull_id("s777"))
    assert one is not None
    assert one.local_name == "s777"
