"""How the timeline of an epoch is kept at UTC."""

from __future__ import annotations

from itertools import pairwise

from headrace.media.steering import DRIFT_SHARE, FAR_PATIENCE_SECONDS, FAR_SECONDS, NEAR_SECONDS, Steering


def drive(hours: float, drift: float, offset: float = 0.0) -> tuple[list[float], Steering]:
    """Steer a source whose clock is slow by a share of `drift`; return how far behind the timeline was, by the look."""
    steering, moved, behind = Steering(), offset, []
    for second in range(round(hours * 3600)):
        media = second * (1 - drift) + moved
        moved += steering.step(media, second)
        behind.append(second - media)
    return behind, steering


def test_a_clock_that_is_right_is_left_alone() -> None:
    """Nothing is moved while the timeline is near UTC, whatever it is within that."""
    for offset in (0.0, NEAR_SECONDS - 0.01, 0.01 - NEAR_SECONDS):
        behind, steering = drive(1, 0.0, offset)
        assert max(abs(one + offset) for one in behind) < 1e-9
        assert not steering.is_far


def test_drift_is_held_for_days() -> None:
    """A crystal that is off by 100 millionths, or four times that, fast or slow, stays near for three days."""
    for drift in (1e-4, -1e-4, 4e-4, -4e-4):
        behind, steering = drive(72, drift)
        assert max(abs(one) for one in behind) < NEAR_SECONDS + 0.01
        assert not steering.is_far


def test_what_is_ahead_comes_back_slowly() -> None:
    """A timeline that was ahead of UTC, since it may not go back, is at it again after some hours."""
    behind, steering = drive(3, 0.0, 4.0)
    assert behind[-1] > -NEAR_SECONDS - 0.01
    assert max(two - one for one, two in pairwise(behind)) <= 4 * DRIFT_SHARE
    assert not steering.is_far


def test_far_behind_for_long_is_told() -> None:
    """A new epoch is better, but not for what a network held back and brings in the end."""
    steering = Steering()
    for second in range(100):
        late = FAR_SECONDS + 1 if second >= 20 else 0
        steering.step(second, second + late)
        assert steering.is_far == (second >= 20 + FAR_PATIENCE_SECONDS)
    steering = Steering()
    for second in range(100):
        steering.step(second, second + (FAR_SECONDS + 1 if second % 20 else 0))
        assert not steering.is_far
