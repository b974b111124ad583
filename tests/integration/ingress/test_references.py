"""A file is read alone: whatever it names, nothing else is opened; and a camera leads to RTSP only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import av.error
import pytest

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.libav import open_file
from integration.ingress.clips import make_clip
from integration.ingress.references import REFERENCES, concat, refer_elsewhere
from integration.ingress.rig import feeding


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
async def test_a_file_that_names_another_is_refused(tmp_path: Path, name: str, relative: bool) -> None:
    """Playlists, lists, manifests and descriptions are no media, whatever their name pretends."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    secret = make_clip(tmp_path / "elsewhere" / "secret.ts")
    path = tmp_path / "here" / name
    REFERENCES[name](path, "../elsewhere/secret.ts" if relative else str(secret))
    async with feeding(f"file:{path}") as watched:
        await wait_until(lambda: watched.reason not in {"", "the source is being opened"}, 20)
        assert watched.state is StreamState.INTERRUPTED
        assert not watched.opened
        assert str(tmp_path) not in watched.reason


def test_the_trick_with_a_list_is_real(tmp_path: Path) -> None:
    """Asked as a media player would, libav does follow a list; so the test above refuses something."""
    make_clip(tmp_path / "secret.ts")
    concat(tmp_path / "list.ffconcat", "secret.ts")
    with av.open(str(tmp_path / "list.ffconcat")) as container:
        assert container.streams.video


async def test_a_data_reference_is_not_followed(tmp_path: Path) -> None:
    """A QuickTime file whose media lie in another file has none, though libav can be made to read it."""
    secret = make_clip(tmp_path / "secret.mov", audio="")
    path = tmp_path / "clip.mov"
    path.write_bytes(refer_elsewhere(secret.read_bytes(), secret))
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(1 for packet in container.demux() if packet.size) > 0
    with open_file(path) as container:
        assert sum(1 for packet in container.demux() if packet.size) == 0
    async with feeding(f"file:{path}") as watched:
        await watched.interrupted("no media")


def test_what_is_no_file_any_more_is_not_opened(tmp_path: Path) -> None:
    """A link or folder that took the file's place after it was checked is refused."""
    clip = make_clip(tmp_path / "clip.mp4")
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for path in (link, tmp_path):
        with pytest.raises((OSError, av.error.FFmpegError), match=r"Too many|no regular"):
            open_file(path)


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/x", "file:///etc/hostname", "tcp://127.0.0.1:{port}"])
async def test_a_camera_leads_to_rtsp_only(target: str) -> None:
    """A redirection to another scheme is never followed as that scheme."""
    asked: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(b"\r\n\r\n"):
            number = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq"))
            status = b"200 OK" if request.startswith(b"OPTIONS") else b"302 Moved"
            writer.write(b"RTSP/1.0 " + status + b"\r\n" + number + b"\r\nLocation: " + address.encode() + b"\r\n\r\n")

    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    address = target.format(port=other.sockets[0].getsockname()[1])
    camera = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = camera.sockets[0].getsockname()[1]
    async with other, camera, feeding(f"rtsp://127.0.0.1:{port}/cam") as watched:
        await wait_until(lambda: watched.reason not in {"", "the source is being opened"}, 20)
        assert not watched.opened
    assert all(request.startswith((b"OPTIONS rtsp", b"OPTIONS " + address.split(":")[0].encode())) for request in asked)
    assert not any(request.startswith((b"GET", b"POST")) for request in asked)
