"""How often a registry does what, most of it in leases: the time that a record lives without renewal."""

from __future__ import annotations

from typing import Final

RENEWALS_PER_LEASE: Final = 3
"""How often a lease is renewed in its time: two renewals may be lost."""

RETRIES_PER_LEASE: Final = 4
"""How often, at most, a store that is away is tried in the time of a lease."""

RETRY_MAX_SECONDS: Final = 2.0
"""Longest wait between two tries, however long the lease is."""

PATIENCE_MAX_SECONDS: Final = 1.0
"""Longest wait of the follower before it looks whether the keeper still reaches the store."""

GRACE_LEASES: Final = 1.5
"""How long a record that a store lost is still believed, in leases: its owner announces it again within one."""

READING_LEASES: Final = 10.0
"""How often everything is read again though nothing seems lost, in leases: repairs what no rule foresaw."""

UPDATE_GAP_SECONDS: Final = 0.05
"""Least time between two writes of this process: updates that come faster are told together."""

START_WAIT_SECONDS: Final = 2.0
"""Longest wait of `start` for the first answer of the store."""

CLOSE_WAIT_SECONDS: Final = 1.0
"""Longest wait of `close` for the store to take the withdrawals; leases expire by themselves."""

TAKEN_LEASES: Final = 1.5
"""How long another process's hold on our node id is waited out, in leases: a predecessor that crashed is gone then."""

READ_PER_SECOND: Final = 2.0
"""How many records one process reads a second, at most and on average, in the readings that nothing made necessary."""

HERD_PER_SECOND: Final = 1000.0
"""How many processes may come back in a second: larger clusters spread their return over more than one try."""


def retry_seconds(lease_seconds: float, crowd: int, random_unit: float) -> float:
    """Return how long to wait before a store that is away is tried again: longer where many would come at once.

    Args:
        lease_seconds: the registry's.
        crowd: how many nodes there are beyond what every process follows.
        random_unit: from 0 to 1.
    """
    retry = min(lease_seconds / RETRIES_PER_LEASE, RETRY_MAX_SECONDS)
    return retry / 2 + random_unit * (retry / 2 + max(0, crowd) / HERD_PER_SECOND)
