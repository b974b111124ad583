"""The view: what is shown of a cluster, and for how long."""

from __future__ import annotations

from headrace.identifiers import NodeId
from headrace.registry.leases import Change, How, Kind, LeaseKey
from headrace.registry.records import NodeRecord, encode_record
from headrace.registry.view import View

KEY = LeaseKey(Kind.NODE, "n1")
RECORD = NodeRecord(node="n1", role="edge")
PUT = Change(KEY, How.PUT, encode_record(RECORD))


def make_view() -> tuple[View, list[str]]:
    refused: list[str] = []
    return View(lambda key, reason: refused.append(f"{key.name}: {reason}")), refused


def test_put_shows_and_removal_hides() -> None:
    """A change is told as one, a repetition is not."""
    view, _ = make_view()
    assert view.apply(PUT, None)
    assert not view.apply(PUT, None)
    assert view.nodes == {"n1": RECORD}
    assert view.apply(Change(KEY, How.REMOVED), None)
    assert not view.apply(Change(KEY, How.REMOVED), None)
    assert view.nodes == {}


def test_expiry_counts_at_once_when_the_store_was_well() -> None:
    """Who does not renew is gone."""
    view, _ = make_view()
    view.apply(PUT, None)
    assert view.apply(Change(KEY, How.EXPIRED), None)
    assert view.nodes == {}


def test_expiry_is_doubted_after_an_outage() -> None:
    """What expired because the store was away stays for the grace, and for good when it is announced again."""
    view, _ = make_view()
    view.apply(PUT, None)
    assert not view.apply(Change(KEY, How.EXPIRED), 10.0)
    assert view.next_settling == 10.0
    assert not view.settle(9.9)
    view.apply(PUT, 10.0)
    assert view.next_settling is None
    assert not view.settle(10.0)
    assert NodeId("n1") in view.nodes


def test_missing_is_doubted_and_then_gone() -> None:
    """What a full reading lacks goes after the grace; another reading does not lengthen it."""
    view, _ = make_view()
    view.apply(PUT, None)
    assert not view.replace({}, 10.0)
    assert not view.replace({}, 20.0)
    assert view.nodes == {"n1": RECORD}
    assert view.settle(10.0)
    assert view.nodes == {}
    assert view.next_settling is None


def test_removal_counts_even_in_doubt() -> None:
    """Who withdraws is believed at once."""
    view, _ = make_view()
    view.apply(PUT, None)
    view.replace({}, 10.0)
    assert view.apply(Change(KEY, How.REMOVED), 10.0)
    assert view.next_settling is None


def test_own_record_is_ours_to_say() -> None:
    """What we keep is shown as we keep it, whatever the store tells, until we release it."""
    view, _ = make_view()
    ours = NodeRecord(node="n1", role="edge", load=0.5)
    assert view.keep(KEY, ours)
    assert not view.keep(KEY, ours)
    assert not view.apply(PUT, None)
    assert not view.replace({KEY: PUT.record}, 10.0)
    assert not view.apply(Change(KEY, How.EXPIRED), None)
    assert view.nodes == {"n1": ours}
    view.release(KEY)
    assert view.apply(PUT, None)
    assert view.nodes == {"n1": RECORD}


def test_dropping_our_own_hides_it() -> None:
    """What we drop is not shown any more."""
    view, _ = make_view()
    view.keep(KEY, RECORD)
    assert view.drop(KEY)
    assert not view.drop(KEY)
    assert view.nodes == {}


def test_what_cannot_be_believed_is_complained_of_once() -> None:
    """A bad record leaves the good one that was known, and is told again only after it was good or gone."""
    view, refused = make_view()
    view.apply(PUT, None)
    bad = Change(KEY, How.PUT, b"{}")
    assert not view.apply(bad, None)
    assert not view.apply(bad, None)
    assert not view.replace({KEY: b"{}"}, 10.0)
    assert view.nodes == {"n1": RECORD}
    assert len(refused) == 1
    view.apply(PUT, None)
    view.apply(bad, None)
    assert len(refused) == 2
