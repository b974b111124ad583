"""Who is kept apart when workers end."""

from __future__ import annotations

from headrace.identifiers import StreamName
from headrace_ingress.workers.suspects import REMEMBERED_SECONDS, Suspects

ONE, TWO, THREE = StreamName("one"), StreamName("two"), StreamName("three")


def test_whose_thread_crashed_is_guilty_at_once() -> None:
    """And its neighbours are not suspected."""
    suspects = Suspects()
    suspects.blame({ONE, TWO}, ONE, 10.0)
    suspects.blame({TWO, THREE}, THREE, 11.0)
    assert [suspects.is_guilty(name, 12.0) for name in (ONE, TWO, THREE)] == [True, False, True]


def test_who_was_there_twice_is_guilty() -> None:
    """Where nobody knows which it was, once is chance."""
    suspects = Suspects()
    suspects.blame({ONE, TWO}, None, 10.0)
    assert not suspects.is_guilty(ONE, 10.0)
    suspects.blame({ONE, THREE}, None, 20.0)
    assert [suspects.is_guilty(name, 20.0) for name in (ONE, TWO, THREE)] == [True, False, False]


def test_it_is_forgotten() -> None:
    """A feed that ends its worker now and then only is not kept apart for ever."""
    suspects = Suspects()
    suspects.blame({ONE}, None, 10.0)
    suspects.blame({ONE}, None, 10.0 + REMEMBERED_SECONDS)
    assert not suspects.is_guilty(ONE, 10.0 + REMEMBERED_SECONDS)
    suspects.blame({ONE}, ONE, 1000.0)
    assert suspects.is_guilty(ONE, 1000.0 + REMEMBERED_SECONDS - 1)
    assert not suspects.is_guilty(ONE, 1000.0 + REMEMBERED_SECONDS)


def test_memory_is_bounded() -> None:
    """Old strikes go, and of a feed no more are kept than count."""
    suspects = Suspects()
    for second in range(1000):
        suspects.blame({StreamName(f"cam{second}"), ONE}, None, float(second))
    assert len(suspects._strikes) <= REMEMBERED_SECONDS + 2
    assert len(suspects._strikes[ONE]) <= 3
