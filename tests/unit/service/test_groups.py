"""The settings themselves: documented, limited, masked."""

from __future__ import annotations

import tomllib

import pytest

from headrace.errors import ConfigurationError
from headrace.service.ingress_groups import SourceSettings
from headrace.service.loading import settings_by_location
from headrace.service.settings import Settings, load_settings
from headrace.service.showing import settings_as_toml

SECRETS = {
    "HEADRACE_RELAY__SECRET": "hush-relay",
    "HEADRACE_CONTROL_API__TOKENS": "hush-token-1,hush-token-2",
    "HEADRACE_REGISTRY__URL": "redis://user:hush-redis@store:6379/0",
    "HEADRACE_INGRESS__SOURCES": '{"site7/gate": "rtsp://user:hush-camera@cam/1?token=hush-query"}',
}


def test_every_setting_is_documented() -> None:
    """Each setting says in a sentence what it means, and has a unit where it is a time or an amount."""
    fields = {**settings_by_location(), **{("source", name): f for name, f in SourceSettings.model_fields.items()}}
    for location, info in fields.items():
        assert info.description, location
        assert info.description.endswith("."), location
        unit = (info.json_schema_extra or {}).get("unit") if isinstance(info.json_schema_extra, dict) else None
        if location[1].endswith("_seconds"):
            assert unit == "seconds", location
        if location[1].endswith("_bytes"):
            assert unit == "bytes", location


def test_shown_settings_hold_no_secret_and_read_back() -> None:
    """What --show-config and repr print has no secrets, and is a valid file."""
    settings = load_settings(None, SECRETS)
    shown = settings_as_toml(settings)
    assert "hush" not in shown
    assert "hush" not in repr(settings)
    assert tomllib.loads(shown)["ingress"]["sources"]["site7/gate"]["uri"] == "rtsp://***@cam/1?token=***"
    assert tomllib.loads(settings_as_toml(Settings()))["edge"]["port"] == 8088


def test_shown_defaults_are_the_defaults() -> None:
    """A file written from the defaults gives the defaults again."""
    assert load_settings(None, {}, tomllib.loads(settings_as_toml(Settings()))) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_NODE__ID", "no spaces"),
        ("HEADRACE_NODE__PUBLIC_URL", "edge.example.org"),
        ("HEADRACE_NODE__LAYER", "-1"),
        ("HEADRACE_RELAY__TIMEOUT_SECONDS", "0.15"),
        ("HEADRACE_RELAY__TIMEOUT_SECONDS", "nan"),
        ("HEADRACE_INGRESS__ALLOW_NETWORKS", "10.0.0.0/33"),
        ("HEADRACE_INGRESS__RETRY_MIN_SECONDS", "60"),
        ("HEADRACE_CONTROL_API__TOKENS", "short"),
        ("HEADRACE_REGISTRY__PREFIX", "a:b"),
        ("HEADRACE_REGISTRY__URL", "redis//typo"),
    ],
)
def test_limits(variable: str, value: str) -> None:
    """A value beyond what is documented is refused where it comes in."""
    with pytest.raises(ConfigurationError):
        load_settings(None, {variable: value})


@pytest.mark.parametrize(
    ("role", "layer"), [("ingress", 0), ("intermediate", 1), ("edge", 1000), ("control-api", 1000)]
)
def test_layer_by_role(role: str, layer: int) -> None:
    """A node's place in the chain comes from its role unless it is set."""
    assert Settings().node.layer_of(role) == layer
    assert load_settings(None, {"HEADRACE_NODE__LAYER": "7"}).node.layer_of(role) == 7
