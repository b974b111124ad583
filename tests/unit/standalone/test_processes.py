"""What each process of `headrace up --processes` is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.service.settings import Settings, load_settings
from headrace_standalone.processes import child_environment, service_specs

SOURCES = {"ingress": {"sources": {"cam1": {"uri": "rtsp://user:hush@cam/1"}, "demo": {"uri": "test:"}}}}


def test_services_and_their_places_in_the_chain() -> None:
    """Ingress, the intermediates one above the other, edge and API; only one takes the configured port."""
    specs = service_specs({"PATH": "/bin"}, intermediates=2)
    assert [spec.name for spec in specs] == ["ingress-1", "intermediate-1", "intermediate-2", "edge-1", "control-api-1"]
    layers = [load_settings(None, spec.environ).node.layer_of(spec.name.rpartition("-")[0]) for spec in specs]
    assert layers == [0, 1, 2, 1000, 1000]
    ports = [load_settings(None, spec.environ).intermediate.port for spec in specs[1:3]]
    assert ports == [8082, 0]


def test_children_share_store_secret_and_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The common environment gives back the settings of the parent, with a secret of their own and one store."""
    settings = load_settings(None, {}, SOURCES)
    environ = child_environment(settings, Path("x.toml"), "unix:///tmp/store.sock")
    assert environ.pop("HEADRACE_CONFIG") == str(Path("x.toml").absolute())
    child = load_settings(None, environ)
    assert child.ingress.sources == settings.ingress.sources
    assert len(child.relay.secret.get_secret_value()) >= 32
    assert (child.registry.url, child.log.format) == ("unix:///tmp/store.sock", "json")


def test_configured_secret_is_kept() -> None:
    """A secret that the operator chose is not replaced."""
    settings = load_settings(None, {"HEADRACE_RELAY__SECRET": "chosen-one"})
    assert child_environment(settings, None, "memory:")["HEADRACE_RELAY__SECRET"] == "chosen-one"
    assert child_environment(Settings(), None, "memory:")["HEADRACE_RELAY__SECRET"] not in {"", "chosen-one"}


def test_specs_do_not_show_secrets() -> None:
    """The environment holds credentials: a spec's repr does not show it."""
    environ = child_environment(load_settings(None, {}, SOURCES), None, "memory:")
    assert "hush" in json.loads(environ["HEADRACE_INGRESS__SOURCES"])["cam1"]["uri"]
    assert "hush" not in repr(service_specs(environ, 1))
