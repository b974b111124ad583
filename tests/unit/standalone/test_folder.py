"""The temporary folder of `headrace up --processes`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace_standalone.folder import PREFIX, OwnFolder

HOLDER = "from headrace_standalone.folder import OwnFolder; f = OwnFolder(); print(f.path, flush=True); input()"


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_it_is_private_and_goes_with_its_owner(tmp_path: Path) -> None:
    """Only this user may look into it, and nothing is left of it."""
    folder = OwnFolder()
    assert folder.path.parent == tmp_path
    assert folder.path.stat().st_mode & 0o077 == 0
    (folder.path / "store.sock").touch()
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """And what belongs to a living one, or to somebody else, is not."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        link = tmp_path / f"{PREFIX}link"
        link.symlink_to(theirs)
        first = OwnFolder()
        assert theirs.is_dir()
        process.kill()
    second = OwnFolder()
    assert not theirs.exists()
    assert link.is_symlink()
    assert first.path.is_dir()
    first.remove()
    second.remove()
