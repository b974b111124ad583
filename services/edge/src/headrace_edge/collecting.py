"""How Python looks for garbage in cycles while thousands watch.

A full collection looks at every object, and nothing else happens meanwhile: 50 for each viewer, half a second for ten
thousand who just came; and Python begins one whenever there is a quarter more of them. Nearly all that a viewer leaves
behind goes by itself, since hardly anything of it is in a cycle, so full collections may be rare.
"""

from __future__ import annotations

import gc

YOUNG_COLLECTIONS = 100
"""Collections of what is young, 7,000 objects each, from one full collection to the next: of so many viewers that came
as an edge has at most, those left an object or two each, a few megabytes."""


class Collecting:
    """Makes full collections rare from `start` to `stop`; start it last, for what is there then stays."""

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    async def start(self) -> None:
        """Leave what is there out of all collections to come."""
        young, middle, _ = self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(young, middle, YOUNG_COLLECTIONS)

    async def stop(self) -> None:
        """Collect as before."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            gc.unfreeze()
