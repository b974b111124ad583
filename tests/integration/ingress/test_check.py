"""`headrace check` on a corpus: files of every container and codec, and what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.ingress.clips import make_clip

CORPUS = [
    ("clip.mp4", "libx264", "aac", ["avc1", "mp4a"]),
    ("clip.mkv", "libx265", "libopus", ["hvc1", "opus"]),
    ("clip.webm", "libvpx-vp9", "libopus", ["vp09", "opus"]),
    ("clip.ts", "libx264", "aac", ["avc1", "mp4a"]),
    ("clip.avi", "mjpeg", "pcm_s16le", ["avc1", "mp4a"]),
    ("clip.flv", "libx264", "", ["avc1"]),
]


def check(uri: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and what it prints."""
    command = [sys.executable, "-c", "from headrace_standalone.cli import main; main()", "check", uri]
    done = subprocess.run([*command, "--seconds", "1", "--json"], capture_output=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout or b"{}")


@pytest.mark.parametrize(("name", "video", "audio", "codecs"), CORPUS)
def test_corpus(name: str, video: str, audio: str, codecs: list[str], tmp_path: Path) -> None:
    """Every container and codec is told as it is."""
    code, found = check(f"file:{make_clip(tmp_path / name, video=video, audio=audio)}")
    assert code == 0
    assert [track["codec"].partition(".")[0] for track in found["tracks"]] == codecs
    assert found["tracks"][0]["frame_rate"] == pytest.approx(25, rel=0.1)
    assert set(found["browsers"]) == {"Chrome", "Firefox", "Safari", "Edge"}


def test_what_is_none(tmp_path: Path) -> None:
    """It ends with exit code 1 and a reason, without credentials."""
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    code, found = check(f"file:{tmp_path / 'x.mp4'}")
    assert code == 1
    assert "no media" in found["error"]
    code, found = check("rtsp://operator:secret@127.0.0.1:1/cam")
    assert code == 1
    assert "refused" in found["error"]
    assert "secret" not in json.dumps(found)
