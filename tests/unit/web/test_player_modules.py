"""The player's pure modules, tested by node's own test runner."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.service.groups import RingSettings

WEB = Path(__file__).parents[3] / "web"
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_player_modules_pass_their_own_tests() -> None:
    """Every test under web/tests passes."""
    assert NODE is not None
    files = sorted(str(path) for path in (WEB / "tests").glob("*.test.js"))
    done = subprocess.run([NODE, "--test", *files], cwd=WEB, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_full_ring_fits_into_the_player() -> None:
    """Who joins may get all that an edge keeps at once, and what is live comes on top of it."""
    found = re.search(r"WAITING_MAX_BYTES = (\d+) \* 1024 \* 1024", (WEB / "player" / "track-buffer.js").read_text())
    assert found is not None
    assert int(found[1]) * 1024 * 1024 >= 1.25 * RingSettings().bytes
