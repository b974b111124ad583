"""The viewers of all workers as those of one node."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace_edge.workers.audiences import Audiences


def viewer(id: str, stream: str = "cam1", door: str = "live") -> ViewerRecord:
    return ViewerRecord(id=id, stream=stream, door=door, since_us=1)


def telling(came: Sequence[str], gone: Sequence[str] = (), *, whole: bool = False, viewers: int) -> AudienceChange:
    """What a worker tells whose viewers all watch the same by one door."""
    counts = Counts(viewers=viewers, streams={"cam1": viewers}, doors={"live": viewers}) if viewers else Counts()
    return AudienceChange([viewer(id) for id in came], tuple(gone), counts, whole, viewers)


def ids(change: AudienceChange) -> list[str]:
    return sorted(record.id for record in change.came)


def test_viewers_of_all_workers_are_told_as_one_list() -> None:
    """Who came and went at any worker, and how many there are in all."""
    audiences = Audiences()
    assert audiences.take("w1", telling(["a", "b"], viewers=2)) == 2
    assert audiences.take("w2", telling(["c"], viewers=1)) == 1
    change = audiences.change(whole=True)
    assert (ids(change), change.gone, change.listed, change.counts.viewers) == (["a", "b", "c"], (), 3, 3)
    assert not audiences.changed
    audiences.take("w1", telling([], ["a"], viewers=1))
    assert audiences.changed
    change = audiences.change(whole=False)
    assert (ids(change), change.gone, change.listed, change.counts.viewers) == ([], ("a",), 2, 2)


def test_a_viewer_at_two_workers_is_one() -> None:
    """Its requests went to both; it is gone when it left the last of them."""
    audiences = Audiences()
    audiences.take("w1", telling(["a"], viewers=1))
    audiences.take("w2", telling(["a", "b"], viewers=2))
    change = audiences.change(whole=True)
    assert (ids(change), change.listed) == (["a", "b"], 2)
    assert change.counts == Counts(viewers=2, streams={"cam1": 2}, doors={"live": 2})
    audiences.take("w1", telling([], ["a"], viewers=0))
    change = audiences.change(whole=False)
    assert (change.gone, change.counts.viewers) == ((), 2)
    audiences.take("w2", telling([], ["a"], viewers=1))
    assert audiences.change(whole=False).gone == ("a",)


def test_viewers_go_with_their_worker() -> None:
    """One that died tells nothing any more; the others' viewers stay."""
    audiences = Audiences()
    audiences.take("w1", telling(["a", "b"], viewers=2))
    audiences.take("w2", telling(["b"], viewers=1))
    audiences.change(whole=True)
    audiences.forget("w1")
    audiences.forget("nobody")
    change = audiences.change(whole=False)
    assert (change.gone, change.counts.viewers, change.listed) == (("a",), 1, 1)


def test_a_worker_that_tells_the_whole_again_replaces_what_it_told() -> None:
    """Who is not in it any more has gone."""
    audiences = Audiences()
    audiences.take("w1", telling(["a", "b"], viewers=2))
    audiences.change(whole=True)
    assert audiences.take("w1", telling(["b", "c"], whole=True, viewers=2)) == 2
    change = audiences.change(whole=False)
    assert (ids(change), change.gone) == (["b", "c"], ("a",))


def test_the_store_may_be_told_the_whole_again() -> None:
    """It lost it: everybody who is here counts as new."""
    audiences = Audiences()
    audiences.take("w1", telling(["a"], viewers=1))
    audiences.change(whole=True)
    assert ids(audiences.change(whole=False)) == []
    change = audiences.change(whole=True)
    assert (ids(change), change.whole, change.listed) == (["a"], True, 1)


def test_who_came_and_went_between_two_tellings_is_not_told() -> None:
    """The store never heard of it."""
    audiences = Audiences()
    audiences.take("w1", telling(["a"], viewers=1))
    audiences.take("w1", telling([], ["a"], viewers=0))
    change = audiences.change(whole=False)
    assert (ids(change), change.gone, change.counts) == ([], (), Counts())
