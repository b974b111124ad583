"""What becomes of sources whose clocks are wrong, sped up: the real reader, packager and clocks, and simulated packets.

`HEADRACE_CLOCK_HOURS` says how much of each; `make clocks` runs an hour, or days, and prints a table.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from unit.ingress.clocks.checking import Outcome, run
from unit.ingress.clocks.scenarios import FLV, MPEG_TS, SCENARIOS, Scenario

HOURS = float(os.environ.get("HEADRACE_CLOCK_HOURS", "0.05"))
"""Three minutes unless told otherwise: everything that is wrong is wrong once in them."""

DRIFT_HOURS = 0.2
"""How long a clock that is off by 400 ppm takes to be off by more than is left alone."""

OBJECTS_MAX = 2000
"""Most objects that a feed of two tracks holds: a second of samples."""


def check(seen: Outcome, scenario: Scenario) -> None:
    """Assert what holds of every source."""
    assert seen.problems == []
    assert seen.pictures
    assert seen.offset <= scenario.offset_max
    assert seen.drift <= scenario.drift_max
    first, second = seen.halves
    assert max(first, second) < OBJECTS_MAX
    assert second <= first * 1.25 + 50


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_clocks(scenario: Scenario) -> None:
    """Numbers have no holes, times go on, sound stays with the picture, and both with UTC; nothing grows."""
    hours = max(HOURS, DRIFT_HOURS) if abs(scenario.rate - 1) > 3e-4 and scenario.sound_rate == 48_000 else HOURS
    check(run(scenario, hours, 1), scenario)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A source with several things wrong at once."""
    wraps = draw(st.sampled_from([(0, MPEG_TS), (33, MPEG_TS), (32, MPEG_TS), (32, FLV)]))
    end = float((1 << wraps[0]) * wraps[1]) if wraps[0] else draw(st.floats(30, 1e6))
    sound_rate = draw(st.sampled_from([16_000, 48_000]))
    rate = draw(st.sampled_from([0.0, 12.5, 25.0, 60.0]))
    return Scenario(
        "made up",
        rate=draw(st.floats(0.9996, 1.0004)),
        start=end - draw(st.floats(1, 20)),
        wrap_bits=wraps[0],
        tick=wraps[1],
        jump_every=draw(st.sampled_from([0.0, 7.0])),
        jump_by=tuple(
            draw(st.lists(st.floats(-100_000, 100_000).map(lambda by: round(by, 3)), min_size=1, max_size=3))
        ),
        utc_steps=tuple((at, draw(st.floats(-0.2, 0.2))) for at in draw(st.lists(st.floats(1, 60), max_size=2))),
        frame_rate=rate,
        gop=draw(st.sampled_from([0.0, 0.2, 1.0, 2.0, 20.0])),
        late_header=draw(st.sampled_from([0.0, 5.0])),
        reorders=rate > 0 and draw(st.booleans()),
        first_bare=draw(st.integers(0, 1)) if rate else 0,
        sound_rate=sound_rate,
        sound_early_every=draw(st.sampled_from([0.0, 6.0])),
        sound_early=tuple(draw(st.lists(st.floats(0.01, 0.9), min_size=1, max_size=3))),
        sound_gap_every=draw(st.sampled_from([0.0, 5.0])),
        sound_gap=tuple(draw(st.lists(st.floats(0.01, 4), min_size=1, max_size=3))),
        header_every=draw(st.sampled_from([0.0, 11.0])),
        network_stall_every=draw(st.sampled_from([0.0, 13.0])),
        jitter=draw(st.floats(0.001, 0.05)),
        drift_max=1.0,
    )


@hypothesis_settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.integers(0, 1000))
def test_clocks_that_are_wrong_in_several_ways(scenario: Scenario, seed: int) -> None:
    """What holds of each holds of all at once."""
    seen = run(scenario, 25 / 3600, seed)
    assert seen.problems == []
    assert seen.pictures
    assert seen.offset <= scenario.offset_max
    assert max(seen.halves) < OBJECTS_MAX
