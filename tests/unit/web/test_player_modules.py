"""The player's pure modules, tested by node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "web"
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_player_modules_pass_their_own_tests() -> None:
    """Every test under web/tests passes."""
    assert NODE is not None
    files = sorted(str(path) for path in (WEB / "tests").glob("*.test.js"))
    done = subprocess.run([NODE, "--test", *files], cwd=WEB, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
