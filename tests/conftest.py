"""What every test has: a clean environment of settings, and loggers as they were before."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog

from headrace.testing import FakeClock

RUN_AGAIN = ("e2e", "integration", "scenarios")
"""Tests of real processes on real sockets, which share two cores with as many again: in CI they may fail once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI, run a test of real processes a second time before it counts as failed; the summary names it as `RERUN`."""
    if os.environ.get("CI"):
        for item in items:
            if item.path.relative_to(Path(__file__).parent).parts[0] in RUN_AGAIN:
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped where the environment says CI: what a test needs is installed there, or missing."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Hide the tests' own variables too, which they have read by now: a program that they start refuses them."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
            environment.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test moves by hand."""
    return FakeClock()
