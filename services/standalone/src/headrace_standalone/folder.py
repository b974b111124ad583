"""A temporary folder that lives as long as its process, however that ends.

The folder holds a file that the process keeps locked. The kernel lets go of the lock when the process is gone, even by
SIGKILL; then the next one that makes such a folder removes what was left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = "headrace-up-"
LOCK: Final = "lock"


class OwnFolder:
    """A new folder that only this user may open.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        remove_abandoned()
        lock = None
        while lock is None:  # another one that begins at this moment may have taken the new folder for abandoned
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = _locked(self.path)
        self._lock: int | None = lock

    def remove(self) -> None:
        """Remove it with all that is in it; a second call does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_abandoned() -> None:
    """Remove folders of this user whose processes are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Lock `folder` and return the lock, which children do not inherit; `None` when it is another's."""
    try:
        found = folder.lstat()
        if found.st_uid != os.geteuid() or not folder.is_dir() or folder.is_symlink():
            return None
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
