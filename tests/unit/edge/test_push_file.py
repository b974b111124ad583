"""Recordings, where the disk does not do as it should."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from headrace.identifiers import ChunkId, Epoch
from headrace.media.boxes import make_box
from headrace.wire.chunk import Flag, make_chunk
from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.file import FileTarget
from headrace_edge.push.pacing import Begin, Conveyor
from unit.edge.synthetic import VIDEO

FRAGMENT = make_box("moof", make_box("traf", make_box("tfdt", b"\x01\0\0\0", bytes(8)))) + make_box("mdat", bytes(9000))


@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_full_disk_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch, chunks: int, tmp_path: Path) -> None:
    """Also where what was written before is refused again as the file is closed: no fault of ours, and tried again.

    An empty file would stay of each try, until there are too many of that name.
    """

    def open_full(path: Path) -> tuple[Path, BinaryIO]:
        path.touch()
        return path, os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")

    monkeypatch.setattr("headrace_edge.push.file.open_new", open_full)
    conveyor = Conveyor(asyncio.get_running_loop())
    conveyor.put(Begin((VIDEO,)))
    for number in range(chunks):
        conveyor.put(make_chunk(ChunkId(Epoch(1), 1, 1, number), Flag.RANDOM_ACCESS, 0, 100, 0, 1, 0, FRAGMENT))
    if not chunks:
        asyncio.get_running_loop().call_later(0.1, conveyor.stop)
    with pytest.raises(PushFailed, match="No space") as failed:
        await asyncio.to_thread(FileTarget(tmp_path / "rec.mp4").write, conveyor)
    assert failed.value.code == "broken"
    assert list(tmp_path.iterdir()) == []
