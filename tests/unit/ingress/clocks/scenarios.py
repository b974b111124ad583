"""What can be wrong with the clocks of a source, and with ours."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

MPEG_TS: Final = Fraction(1, 90_000)
FLV: Final = Fraction(1, 1000)

DRIFT_MAX_SECONDS: Final = 0.4
"""How far a timeline may be from UTC: a quarter of a second is left alone, and capture times have jitter besides."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A source, and what is wrong with it. Times are seconds; shares are of 1.

    Attributes:
        name: what it is called.
        rate: seconds that the source's clock goes on in a true second.
        start: where its clock begins.
        wrap_bits: after how many bits its stamps begin again, 0 for never.
        tick: of its stamps; where it is longer than that of sound, sound is rounded to it.
        jump_every, jump_by: how often its clock jumps, and by what in turn.
        utc_steps: when our own clock is set, and by how much.
        frame_rate: of the picture; 0 means that it varies from 8 to 100 and is not declared.
        gop: from keyframe to keyframe, 0 for keyframes alone.
        keyless: from when to when there is no keyframe.
        late_header: until when there is no keyframe at the beginning.
        reorders: whether there are B-frames.
        declared: whether the source says of B-frames that there are some.
        no_pts, no_dts: share of packets without.
        first_bare: how many packets at the beginning have no stamps at all.
        stands_still: whether all pictures have the same stamps.
        swapped: share of pictures that come after the one that follows them.
        sound: whether there is any.
        sound_rate: samples of sound in a second; a frame has 1,024.
        sound_gap_every, sound_gap: how often sound is missing, and for how long in turn.
        sound_early_every, sound_early: how often a second of it is stamped too early, and by how much in turn.
        header_every: how often size or codec change.
        network_stall_every: how often nothing comes for four seconds, and then all of it.
        jitter: how late packets come, at random.
        drift_max: how far the timeline may be from UTC.
        settle: how long it may be further away after our own clock was set.
        offset_max: how far sound may be from the picture.
    """

    name: str
    rate: float = 1.0
    start: float = 10.0
    wrap_bits: int = 0
    tick: Fraction = MPEG_TS
    jump_every: float = 0.0
    jump_by: tuple[float, ...] = ()
    utc_steps: tuple[tuple[float, float], ...] = ()
    frame_rate: float = 25.0
    gop: float = 2.0
    keyless: tuple[float, float] = (0.0, 0.0)
    late_header: float = 0.0
    reorders: bool = False
    declared: bool = True
    no_pts: float = 0.0
    no_dts: float = 0.0
    first_bare: int = 0
    stands_still: bool = False
    swapped: float = 0.0
    sound: bool = True
    sound_rate: int = 48_000
    sound_gap_every: float = 0.0
    sound_gap: tuple[float, ...] = ()
    sound_early_every: float = 0.0
    sound_early: tuple[float, ...] = ()
    header_every: float = 0.0
    network_stall_every: float = 0.0
    jitter: float = 0.03
    drift_max: float = DRIFT_MAX_SECONDS
    settle: float = 0.0
    offset_max: float = 0.020


SCENARIOS: Final = (
    Scenario("steady"),
    Scenario("slow by 100 ppm", rate=0.9999),
    Scenario("slow by 400 ppm", rate=0.9996),
    Scenario("fast by 100 ppm", rate=1.0001),
    Scenario("fast by 400 ppm", rate=1.0004),
    Scenario("jumping", jump_every=31.0, jump_by=(3.0, -3.0, 86_400.0, -86_400.0, 0.3, -0.3, 7.0, -0.6)),
    Scenario("our UTC is set forward", utc_steps=((60.0, 0.2), (150.0, 30.0)), drift_max=0.5, settle=35.0),
    Scenario("our UTC is set back", utc_steps=((60.0, -0.2), (150.0, -3.0)), drift_max=0.5, settle=7200.0),
    Scenario("33 bits wrap", start=2**33 / 90_000 - 120.0, wrap_bits=33),
    Scenario("33 bits wrap, B-frames", start=2**33 / 90_000 - 120.0, wrap_bits=33, reorders=True),
    Scenario("32 bits wrap, 90 kHz", start=2**32 / 90_000 - 120.0, wrap_bits=32),
    Scenario("32 bits wrap, milliseconds", start=2**32 / 1000 - 120.0, wrap_bits=32, tick=FLV),
    Scenario("missing pts", no_pts=0.2),
    Scenario("missing pts, all of them", no_pts=1.0),
    Scenario("missing dts, B-frames", no_dts=0.1, reorders=True),
    Scenario("first packet without stamps", first_bare=1, reorders=True),
    Scenario("reordered packets", swapped=0.01),
    Scenario("B-frames", reorders=True),
    Scenario("B-frames that are not declared", reorders=True, declared=False),
    Scenario("a clock that stands still", stands_still=True, sound=False, drift_max=5.0),
    Scenario("variable frame rate", frame_rate=0.0),
    Scenario("gaps in sound", sound_gap_every=41.0, sound_gap=(0.03, 0.3, 3.0, 11.0)),
    Scenario("overlaps in sound", sound_early_every=41.0, sound_early=(0.03, 0.3, 0.9)),
    Scenario("long frames of sound", sound_rate=16_000, sound_gap_every=41.0, sound_gap=(0.03, 0.07), rate=0.9996),
    Scenario("long frames of sound, gaps", sound_rate=16_000, sound_gap_every=7.0, sound_gap=(0.03, 0.07, 0.1, 0.15)),
    Scenario(
        "long frames of sound, overlaps", sound_rate=16_000, sound_early_every=7.0, sound_early=(0.03, 0.045, 0.1)
    ),
    Scenario("late parameter sets", late_header=20.0),
    Scenario("size and codec change", header_every=50.0),
    Scenario("GOP of 0.2 s", gop=0.2),
    Scenario("GOP of 60 s", gop=60.0),
    Scenario("keyframes alone", gop=0.0),
    Scenario("no keyframe for a minute", keyless=(60.0, 120.0)),
    Scenario("stalls of the network", network_stall_every=59.0, rate=1.0001),
)
