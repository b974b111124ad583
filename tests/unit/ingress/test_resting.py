"""When a reader rests, and for how long."""

from __future__ import annotations

import pytest

from headrace_ingress.resting import BELIEF_SECONDS, CREEP_SECONDS, REST_MAX_SECONDS, SLACK_SECONDS, Rest


def test_who_had_to_wait_rests_until_the_next_chunk_is_due() -> None:
    """A moment longer, so that its last packet is there."""
    assert Rest().seconds(50.0, 50.1, waited=0.03, now=1000.0) == pytest.approx(0.1 + SLACK_SECONDS)


def test_who_never_had_to_wait_does_not_rest() -> None:
    """What is read lies behind, and every rest would keep it there."""
    assert Rest().seconds(50.0, 50.1, waited=0.0, now=1000.0) == 0


def test_what_was_there_already_is_measured_by_earlier_arrivals() -> None:
    """A read after a rest need not wait; the time lost by resting longer and by the work is made up for."""
    rest = Rest()
    rest.seconds(50.0, 50.1, waited=0.03, now=1000.0)
    assert rest.seconds(50.1, 50.2, waited=0.0, now=1000.11) == pytest.approx(0.09 + SLACK_SECONDS)


def test_one_late_packet_makes_no_later_chunk_late() -> None:
    """The earliest arrival counts, and creeps up as slowly as clocks drift."""
    rest = Rest()
    assert rest.seconds(50.0, 50.01, waited=0.03, now=1000.0) == 0
    seconds = rest.seconds(50.1, 50.2, waited=0.05, now=1000.15)
    assert seconds == pytest.approx(0.05 + CREEP_SECONDS + SLACK_SECONDS)


def test_a_reader_that_lacks_a_processor_rests_no_longer() -> None:
    """After a rest everything was there: what a read took then was for want of CPU, however often."""
    rest = Rest()
    rest.seconds(50.0, 50.1, waited=0.03, now=1000.0)
    for number in range(1, 9):
        at = 0.1 * number
        seconds = rest.seconds(50.0 + at, 50.1 + at, waited=0.001, now=1000.003 + at)
        assert seconds == pytest.approx(0.097 + SLACK_SECONDS)


def test_arrivals_are_believed_for_a_while() -> None:
    """Then nobody rests until a read had to wait again."""
    rest = Rest()
    rest.seconds(50.0, 50.1, waited=0.03, now=1000.0)
    later = BELIEF_SECONDS + 0.1
    assert rest.seconds(50.0 + later, 50.1 + later, waited=0.0, now=1000.0 + later) == 0
    assert rest.seconds(50.1 + later, 50.2 + later, waited=0.02, now=1000.1 + later) > 0


def test_a_jump_of_the_source_begins_anew() -> None:
    """Its times say nothing about those before."""
    rest = Rest()
    rest.seconds(50.0, 50.1, waited=0.03, now=1000.0)
    assert rest.seconds(900.0, 900.1, waited=0.03, now=1000.1) == pytest.approx(0.1 + SLACK_SECONDS)


def test_no_rest_is_long() -> None:
    """Chunks may be as long as segments; a stop or a broken feed must not wait for one."""
    assert Rest().seconds(50.0, 56.0, waited=0.03, now=1000.0) == REST_MAX_SECONDS


def test_short_rests_are_not_worth_it() -> None:
    """Nor are those that would be over before they began."""
    assert Rest().seconds(50.0, 50.001, waited=0.03, now=1000.0) == 0
