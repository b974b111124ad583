"""Sources in order: the first that works, and back."""

from __future__ import annotations

from pathlib import Path

from headrace.service.settings import Settings
from headrace.testing import free_port, wait_until
from headrace.wire.stream import StreamState
from integration.ingress.clips import make_clip
from integration.ingress.rig import NAME, PATIENT, feeding_settings
from support import publishers


async def test_a_backup_and_back(tmp_path: Path) -> None:
    """A server that is away, a file in its place, and the server again without an interruption."""
    clip = make_clip(tmp_path / "slate.mp4", size=(640, 360))
    uri = f"rtmp://127.0.0.1:{free_port()}/live/cam"
    source = {"uri": uri, "backups": [f"file:{clip}"], "fail_back_seconds": 0.5}
    group = {"port": 0, "rtmp": False, "retry_min_seconds": 0.05, "retry_max_seconds": 0.2, "sources": {NAME: source}}
    group |= PATIENT
    async with feeding_settings(Settings.model_validate({"ingress": group})) as watched:
        await watched.live(1.0)
        assert watched.broadcast.tracks[1].width == 640
        with publishers.ffmpeg("-f", "flv", "-listen", "1", uri):
            await wait_until(lambda: watched.broadcast.tracks[1].width == 320, 30, what="the server's picture")
            await watched.live(1.0)
            assert watched.states == [StreamState.INTERRUPTED, StreamState.LIVE]
        await wait_until(lambda: watched.broadcast.tracks[1].width == 640, 30, what="the backup again")
        await watched.live(1.0)
    watched.check()


def test_a_list_is_a_source_and_its_backups() -> None:
    """`cam1 = [a, b]` is short for `uri` and `backups`."""
    settings = Settings.model_validate({"ingress": {"sources": {"cam1": ["rtsp://192.0.2.1/a", "test:"]}}})
    source = settings.ingress.sources["cam1"]
    assert source.uri.get_secret_value() == "rtsp://192.0.2.1/a"
    assert [one.get_secret_value() for one in source.backups] == ["test:"]
