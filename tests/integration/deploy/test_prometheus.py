"""What deploy/prometheus/ says, checked by Prometheus' own tool and against docs/metrics.md and the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[3]
FOLDER = TOP / "deploy" / "prometheus"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
METRIC = re.compile(r"\b(headrace_\w+|process_\w+)(\{[^}]*\})?")

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str, cwd: Path) -> str:
    """Run the tool and return what it said."""
    ended = subprocess.run(["promtool", *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=60)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def rules() -> list[dict[str, Any]]:
    """Return every alert."""
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Return type and labels of every metric in docs/metrics.md."""
    rows = ROW.findall((TOP / "docs" / "metrics.md").read_text())
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_prometheus_takes_configuration_and_rules() -> None:
    """Both are valid, and the configuration names the rules."""
    promtool("check", "config", "prometheus.yml", cwd=FOLDER)
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", cwd=FOLDER)


def test_alerts_come_when_they_should(tmp_path: Path) -> None:
    """Given series, alerts fire with the words that operators see, and keep silent otherwise."""
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).parent / "prometheus_alerts.yml", tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "prometheus_alerts.yml", cwd=tmp_path)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_is_about_what_there_is(rule: dict[str, Any]) -> None:
    """Its metrics are documented, with the labels that it asks by; its runbook entry exists."""
    known = documented()
    for name, selector in METRIC.findall(rule["expr"]):
        base = re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name
        assert base in known, name
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= known[base][1] | {"job", "instance"}, f"{name}{selector}"
    runbook = rule["annotations"].get("runbook")
    if runbook is not None:
        page, _, anchor = runbook.partition("#")
        headings = re.findall(r"^#+ (.+)$", (TOP / page).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors


def test_every_role_is_scraped() -> None:
    """Each program has a job of its name, on the port that it has unless told otherwise."""
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    ports = {
        job["job_name"]: {target.rpartition(":")[2] for target in job["static_configs"][0]["targets"]}
        for job in document["scrape_configs"]
    }
    assert ports == {"ingress": {"8080"}, "intermediate": {"8082"}, "edge": {"8088"}, "control-api": {"8081"}}
