"""Whether this process stood still."""

from headrace.session.stillness import GRACE_SECONDS, Stillness


def test_a_timer_that_ran_in_time_explains_nothing() -> None:
    """Whatever ended, ended by others."""
    stillness = Stillness(0.2)
    stillness.note(10.0, 10.1)
    assert not stillness.explains(5.0, 10.1)


def test_a_late_timer_explains_what_ended_just_now_and_had_begun_before() -> None:
    """What was opened after waking, or ends long after it, has other reasons."""
    stillness = Stillness(0.2)
    stillness.note(10.0, 15.0)
    stillness.note(15.1, 15.1)
    assert stillness.explains(5.0, 15.0 + GRACE_SECONDS / 2)
    assert not stillness.explains(15.01, 15.0 + GRACE_SECONDS / 2)
    assert not stillness.explains(5.0, 15.01 + GRACE_SECONDS)
