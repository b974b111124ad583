"""A short run of the fuzzer that otherwise runs for as long as wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).parents[2] / "fuzz" / "feeds.py"


def test_feeds_fuzz() -> None:
    """A second of mutated publishers ends in nothing but what is documented."""
    done = subprocess.run([sys.executable, str(FUZZER), "1", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "only documented ends" in done.stdout
