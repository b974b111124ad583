"""What stream a path and a key field mean."""

from __future__ import annotations

import pytest

from headrace.identifiers import StreamName
from headrace_ingress.rtmp.target import targets
from headrace_ingress.target import Target


def target(stream: str, key: str = "") -> Target:
    """Return a target."""
    return Target(StreamName(stream), key)


@pytest.mark.parametrize(
    ("app", "name", "expected"),
    [
        ("live", "cam1", [target("cam1")]),
        ("live", "cam1?key=secret", [target("cam1", "secret")]),
        ("live", "cam1?a=b&key=s%20t", [target("cam1", "s t")]),
        ("live/site7", "cam1?key=secret", [target("site7/cam1", "secret")]),
        ("live", "site7/cam1?key=secret", [target("site7/cam1", "secret")]),
        ("live/cam1", "secret", [target("cam1/secret"), target("cam1", "secret")]),
        ("live/cam1", "-secret/+", [target("cam1", "-secret/+")]),
        ("live", "", []),
        ("live", "../etc", []),
        ("live", "cam 1", []),
        ("app", "cam1", []),
        ("", "cam1", []),
    ],
)
def test_targets(app: str, name: str, expected: list[Target]) -> None:
    """Every form that docs/feeds.md has, and what is no stream."""
    assert targets(app, name) == expected


def test_too_many_parameters() -> None:
    """A query without end holds no key."""
    assert targets("live", "cam1?" + "key=b&" * 100) == [target("cam1")]


def test_a_key_is_in_no_repr() -> None:
    """It is not shown."""
    assert "secret" not in repr(target("cam1", "secret"))
