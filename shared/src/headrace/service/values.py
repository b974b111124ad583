"""Kinds of values that settings are made of, each checked where it comes in."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, Secret

from headrace.clock import SystemClock
from headrace.identifiers import node_id, stream_name
from headrace.registry.registry import make_registry
from headrace.telemetry.masking import mask_uris

URI_MAX_CHARACTERS = 2048
"""Longest address of a source: what browsers and proxies agree to carry."""


URL_MAX_CHARACTERS = 512
"""Longest URL of a node: it stands in the records that all nodes read."""


class SourceUri(Secret[str]):
    """Where a feed comes from; shown without its credentials, whole only by `get_secret_value()`."""

    def _display(self) -> str:
        return mask_uris(self.get_secret_value())


def _source_uri(value: SourceUri) -> SourceUri:
    text = value.get_secret_value()
    if not text or len(text) > URI_MAX_CHARACTERS:
        raise ValueError(f"a source's URI has 1 to {URI_MAX_CHARACTERS} characters, this one {len(text)}")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("a source's URI holds no blanks and no control characters; write a blank as %20")
    return value


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _url(*schemes: str) -> AfterValidator:
    def check(text: str) -> str:
        parts = urlsplit(text)
        if "@" in text or len(text) > URL_MAX_CHARACTERS:
            raise ValueError(
                f"a URL without user name and password, of at most {URL_MAX_CHARACTERS} characters, is allowed"
            )
        if text and (parts.scheme not in schemes or not parts.hostname):
            raise ValueError(f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)} is allowed")
        try:
            has_port = parts.port != 0
        except ValueError:
            has_port = False
        if not has_port:
            raise ValueError("the port of a URL is a number from 1 to 65535")
        return text.rstrip("/")

    return AfterValidator(check)


def _registry_url(text: str) -> str:
    # Nothing is connected by making one, and nobody else knows what the client can read.
    make_registry(text, "headrace", 1.0, SystemClock())
    return text


def setting(default: Any, description: str, *, unit: str = "", **constraints: Any) -> Any:
    """Return a documented field: what it means, its unit, its limits (those of `pydantic.Field`)."""
    factory = {"default_factory": default} if callable(default) else {"default": default}
    return Field(description=description, json_schema_extra={"unit": unit}, **factory, **constraints)


Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 means any free one."""

Host = Annotated[str, Field(min_length=1, max_length=255)]
"""An address or name to bind to."""

StreamKey = Annotated[str, AfterValidator(stream_name)]
"""The name of a stream, checked."""

OptionalNodeId = Annotated[str, AfterValidator(lambda text: node_id(text) if text else text)]
"""The name of a node, or empty for the default."""

Uri = Annotated[SourceUri, AfterValidator(_source_uri)]
"""Where a feed comes from."""

RelayUrl = Annotated[str, _url("ws", "wss")]
"""Where nodes reach a node, or empty."""

RequiredRelayUrl = Annotated[str, Field(min_length=1), _url("ws", "wss")]
"""Where a node is dialled."""

PublicUrl = Annotated[str, _url("http", "https", "ws", "wss")]
"""Where browsers reach an edge, or empty."""

RegistryUrl = Annotated[str, AfterValidator(_registry_url), Field(repr=False), PlainSerializer(mask_uris)]
"""Where the registry is; shown without its password."""

Network = Annotated[str, AfterValidator(_network)]
"""An IP network such as 192.168.4.0/24."""
