"""docs/runbook.md names what exists: log events, metrics, settings, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from headrace.registry.transfers import Flow
from headrace.service.loading import settings_by_location
from headrace.session.metrics import KNOWN_FAILURES
from headrace_standalone.cli import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "runbook.md").read_text()
QUOTED = [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", PAGE)]
SOURCES = "\n".join(
    path.read_text()
    for folder in (ROOT / "shared" / "src", *(ROOT / "services").glob("*/src"))
    for path in folder.rglob("*.py")
)
LOGGED = frozenset(
    re.findall(r"(?:\.(?:debug|info|warning|error|exception)\)?|_warn|tell)\(\s*\"([a-z0-9_]+)\"", SOURCES)
) | {
    "drain_begun",
    "drain_ended",
    *(f"push_{flow.value}" for flow in Flow),
}
EVENT = re.compile(r"[a-z]+(?:_[a-z]+)+|started|stopped|stopping")
REASON = re.compile(r"\breason=([a-z_]+)")
SECTIONS = re.findall(r"^## (?!Where to ask)(.+)$", PAGE, re.MULTILINE)


def events() -> set[str]:
    """Return the names on the page that stand where a log event does: alone, or in front of fields."""
    first = {quoted.split()[0] for quoted in QUOTED if "/" not in quoted}
    known_otherwise = metrics() | {name for _, name in settings_by_location()} | KNOWN_FAILURES
    return {word for word in first if EVENT.fullmatch(word)} - known_otherwise


def metrics() -> set[str]:
    """Return the metrics on the page."""
    return set(re.findall(r"\bheadrace_(?!default\b)[a-z_]+(?=\b)", PAGE)) - {"headrace_"}


@pytest.mark.parametrize("event", sorted(events()))
def test_log_event_exists(event: str) -> None:
    """What the page has people look for in logs is logged somewhere."""
    assert event in LOGGED


def test_enough_events_were_found() -> None:
    """The page is read as it is meant: it names dozens of them."""
    assert len(events()) > 30


@pytest.mark.parametrize("metric", sorted(metrics()))
def test_metric_exists(metric: str) -> None:
    """Every metric is one of docs/metrics.md, which another test compares with what is exported."""
    assert f"`{metric}`" in (ROOT / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("reason", sorted(set(REASON.findall(PAGE))))
def test_reason_exists(reason: str) -> None:
    """Reasons are words of the code."""
    assert f'"{reason}"' in SOURCES


@pytest.mark.parametrize("setting", sorted(set(re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE))))
def test_setting_exists(setting: str) -> None:
    """Settings are those of docs/configuration.md."""
    assert tuple(setting.split(".")) in settings_by_location()


def commands() -> list[str]:
    """Return the `headrace` commands on the page."""
    return sorted({quoted for quoted in QUOTED if quoted.startswith("headrace ")})


@pytest.mark.parametrize("command", commands())
def test_command_exists(command: str) -> None:
    """Its name and every option of it."""
    program = typer.main.get_command(app)
    _, name, *rest = shlex.split(command)
    found = program.commands.get(name)  # type: ignore[attr-defined]
    assert found is not None
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("section", SECTIONS)
def test_every_entry_has_symptom_command_and_meaning(section: str) -> None:
    """In that order."""
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    places = [text.find(f"**{word}.**") for word in ("Symptom", "Command", "Meaning")]
    assert -1 not in places
    assert places == sorted(places)


SENTENCES = [
    "upstream nodes is linked: nobody can have this node's streams",
    "nothing was heard for ",
    "is away, last known records are used",
    "wanted streams come from nowhere: no parent delivers them",
    "does not know the secret of key ",
    "uses a key that is not known here",
    "may not be ",
    "is not good:",
    "no answer within ",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_quoted_sentence_exists(sentence: str) -> None:
    """What people search logs for is what the code says."""
    assert sentence in " ".join(PAGE.split())
    assert sentence in SOURCES
