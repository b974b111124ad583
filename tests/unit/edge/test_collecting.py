"""Full collections of garbage, which stop everything, are rare while an edge serves."""

from __future__ import annotations

import gc

from headrace_edge.collecting import YOUNG_COLLECTIONS, Collecting


async def test_full_collections_are_rare_while_it_serves() -> None:
    """What was there at the start is in none of them; afterwards all is as before."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    collecting = Collecting()
    await collecting.start()
    try:
        assert gc.get_threshold() == (*before[:2], YOUNG_COLLECTIONS)
        assert gc.get_freeze_count() > frozen
    finally:
        await collecting.stop()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


async def test_stopping_what_never_started_changes_nothing() -> None:
    """The thresholds are those of somebody else."""
    before = gc.get_threshold()
    await Collecting().stop()
    assert gc.get_threshold() == before
