"""Keeps the timeline of an epoch at UTC, while it follows the source's clock. Pure.

A crystal is off by some seconds a day, so a timeline that only followed it would leave UTC, by which players of DASH
find the live edge. It is moved by so little at a time that nobody notices, for all tracks alike; where it is so far
behind that this would take hours, a new epoch with a jump is better. It never goes back.
"""

from __future__ import annotations

from typing import Final

DRIFT_SHARE: Final = 0.0005
"""How fast clocks are taken to drift at most, and are followed: half a millisecond each second, five times a bad
crystal's drift."""

NEAR_SECONDS: Final = 0.25
"""How far from UTC the timeline is left alone: a camera may first be known by arrival and then by its own clock, and
sound is better not mended for that."""

FAR_SECONDS: Final = 2.0
"""How far behind UTC the timeline may be for long: to mend it would take an hour, and players wait for 1.5 s."""

FAR_PATIENCE_SECONDS: Final = 30.0
"""How long it must have been so far behind: what a network held back comes in the end, and all is well."""

STEP_SECONDS: Final = 2.0
"""How often it is looked at: a step is then a millisecond."""


class TimelineBroken(Exception):
    """The source's times jumped, as they do when it was restarted, or fell far behind UTC: begin another epoch.

    The sample was not taken; `finish` may be called, and the sample be given to the next packager.

    Attributes:
        track: whose times jumped.
        seconds: by how much, negative for backwards; how far they are behind.
        behind: whether they are behind UTC and did not jump.
    """

    def __init__(self, track: int, seconds: float, *, behind: bool = False) -> None:
        super().__init__(track, seconds)
        self.track = track
        self.seconds = seconds
        self.behind = behind

    def __str__(self) -> str:
        if self.behind:
            return f"decode times of track {self.track} are {self.seconds:.3f} s behind UTC"
        return f"decode times of track {self.track} jumped by {self.seconds:+.3f} s"


class Steering:
    """Says by how much the timeline of an epoch is moved, to be asked every `STEP_SECONDS`.

    Attributes:
        behind: by how many seconds the timeline was behind UTC at the last look.
    """

    def __init__(self) -> None:
        self.behind = 0.0
        self._looked_at: float | None = None
        self._far_since: float | None = None

    @property
    def is_far(self) -> bool:
        """Whether it was too far behind for too long at the last look: a new epoch is better."""
        return (
            self._far_since is not None
            and self._looked_at is not None
            and self._looked_at - self._far_since >= FAR_PATIENCE_SECONDS
        )

    def step(self, media_seconds: float, captured_seconds: float) -> float:
        """Return by how many seconds to move the timeline now: mostly by nothing.

        Args:
            media_seconds: where the timeline has a sample.
            captured_seconds: UTC when that was captured.
        """
        if self._looked_at is None:
            self._looked_at = media_seconds
        passed = max(0.0, media_seconds - self._looked_at)
        self._looked_at = media_seconds
        self.behind = behind = captured_seconds - media_seconds
        if behind <= FAR_SECONDS:
            self._far_since = None
        elif self._far_since is None:
            self._far_since = media_seconds
        if abs(behind) <= NEAR_SECONDS:
            return 0.0
        most = DRIFT_SHARE * min(passed, 2 * STEP_SECONDS)
        return max(-most, min(most, behind))
