"""The certificate of a process and the files that it is in."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO, Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.service.certificate import Certificate
from support.certificates import Authority


def test_files_that_could_not_be_read_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights may be given without a change of what they say; it is told once meanwhile."""
    authority = Authority(tmp_path)
    own = tmp_path / "own.pem", tmp_path / "own.key"
    for source, target in zip(authority.issue("127.0.0.1"), own, strict=True):
        shutil.copyfile(source, target)
    certificate = Certificate(*own, CollectorRegistry())
    for source, target in zip(authority.issue("127.0.0.1"), own, strict=True):
        shutil.copyfile(source, target)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(Path, "open", _refuse)
        certificate.look()
        certificate.look()
        assert "permission denied" in (certificate.problem or "").lower()
    assert [line["event"] for line in lines] == ["certificate_not_read"]
    certificate.look()
    assert certificate.problem is None


def _refuse(path: Path, *how: object, **more: object) -> IO[Any]:
    # Rights do not hold root off, who may run this test.
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
