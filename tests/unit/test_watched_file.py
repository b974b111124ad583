"""Files that change while the program runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headrace.watched_file import WatchedFile


def number(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("this is no number")
    return int(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def test_a_changed_file_is_read_again(path: Path) -> None:
    """And only then."""
    file = WatchedFile(path, number, "a.file")
    assert file.value == 1
    assert not file.reload()
    path.write_text("23")
    assert file.reload()
    assert file.value == 23
    assert not file.reload()


def test_a_file_that_took_the_place_of_another_is_read(path: Path) -> None:
    """Of the same size and age: that is how files are changed at one stroke."""
    file = WatchedFile(path, number, "a.file")
    age = path.stat().st_mtime_ns
    new = path.with_name("new")
    new.write_text("2")
    os.utime(new, ns=(age, age))
    new.replace(path)
    assert file.reload()
    assert file.value == 2


def test_a_file_that_could_not_be_read_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights may be given without a change of what it says, its size and its time."""
    file = WatchedFile(path, number, "a.file")
    path.write_text("23")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", _refuse)
        assert file.reload()
        assert "Permission denied" in file.problem
        assert not file.reload()
    assert file.reload()
    assert (file.value, file.problem) == (23, "")


def _refuse(path: Path, **how: object) -> str:
    # Rights do not hold root off, who may run this test.
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_bad_text_is_told_and_changes_nothing(path: Path) -> None:
    """Once, until it is right again; a file that is missing is no different."""
    file = WatchedFile(path, number, "a.file")
    path.write_text("eleven")
    assert file.reload()
    assert (file.value, file.problem) == (1, "a.file: this is no number")
    assert not file.reload()
    path.unlink()
    assert file.reload()
    assert file.value == 1
    assert "No such file" in file.problem
    assert not file.reload()
    path.write_text("11")
    assert file.reload()
    assert (file.value, file.problem) == (11, "")


def test_bytes_that_are_no_text_are_not_shown(path: Path) -> None:
    """They may be a secret."""
    file = WatchedFile(path, number, "a.file")
    path.write_bytes(b"secret\xff")
    assert file.reload()
    assert file.problem == f"a.file: {path} is not UTF-8"


def test_a_file_that_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    """The setting is named."""
    with pytest.raises(ValueError, match=r"a\.file: .*No such file"):
        WatchedFile(tmp_path / "none", number, "a.file")
