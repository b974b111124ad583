"""The settings of all services, in groups; docs/configuration.md is made from what stands here."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr, field_validator, model_validator

from headrace.service.edge_groups import AccessSettings, EdgeSettings
from headrace.service.group import MIB, Group
from headrace.service.ingress_groups import IngressSettings, PackagerSettings
from headrace.service.values import (
    Host,
    OptionalNodeId,
    Port,
    PublicUrl,
    RegistryUrl,
    RelayUrl,
    RequiredRelayUrl,
    setting,
)
from headrace.telemetry.logging import LogFormat, LogLevel

LAYERS = {"ingress": 0, "intermediate": 1, "edge": 1000}
"""The layer of each role unless `node.layer` says otherwise: media flows from lower to higher layers."""


class NodeSettings(Group):
    """Who this process is in its cluster."""

    id: OptionalNodeId = setting("", "Name of the node, unique in its cluster; empty means `<role>-<host name>`.")
    region: str = setting("", "Where the node is; parents of the same region are preferred.", max_length=64)
    relay_url: RelayUrl = setting(
        "", "Where other nodes reach this one, `ws://host:port/relay`; empty means the address it listens on."
    )
    public_url: PublicUrl = setting(
        "", "Where browsers reach this edge (reverse proxy, published port); empty means the address it listens on."
    )
    layer: int | None = setting(
        None,
        "Place in the chain: a node takes streams from lower layers. Absent means by role: ingress 0, intermediate 1, "
        "edge 1000.",
        ge=0,
        le=1000,
    )
    capacity: int = setting(
        1000,
        "Viewers and child nodes the node is meant for; beyond it others are preferred.",
        unit="connections",
        ge=1,
        le=10_000_000,
    )

    def layer_of(self, role: str) -> int:
        """Return the layer that was set, or the one of `role`."""
        return LAYERS.get(role, LAYERS["edge"]) if self.layer is None else self.layer


class LogSettings(Group):
    """What is logged, to standard error."""

    level: LogLevel = setting("info", "Least level that is shown: `debug`, `info`, `warning` or `error`.")
    format: LogFormat = setting(
        "auto", "`console` for people, `json` for machines; `auto` is console on a terminal and JSON elsewhere."
    )


class RegistrySettings(Group):
    """Where nodes and streams are looked up."""

    url: RegistryUrl = setting(
        "memory:",
        "`memory:` (this process alone), or the address of Redis or Valkey: `redis://`, `rediss://`, `unix://`.",
    )
    prefix: str = setting("headrace", "What every key begins with, one per cluster.", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    lease_seconds: float = setting(
        3.0, "How long a record outlives its node without being renewed.", unit="seconds", ge=0.2, le=300
    )


class RelaySettings(Group):
    """How nodes pass streams on to each other."""

    secret: SecretStr = setting(SecretStr(""), "Secret that all nodes of the cluster share and prove to each other.")
    credentials_file: Path | None = setting(
        None,
        "File with this node's credentials in place of the secret: keys with roles and streams, changed without a "
        "restart ([deployment.md](deployment.md#credentials)).",
    )
    allow_open: bool = setting(
        False,
        "Believe an empty secret from anywhere, and not from this machine alone: whoever reaches a node is one then.",
    )
    ca_file: Path | None = setting(
        None,
        "Certificates of authorities (PEM) that nodes with a `wss://` address must have theirs from, instead of those "
        "that the system trusts.",
    )
    heartbeat_seconds: float = setting(
        0.1, "How often each side of a link says that it lives.", unit="seconds", ge=0.01, le=10
    )
    timeout_seconds: float = setting(
        0.4, "Silence on a link after which its other end counts as gone.", unit="seconds", ge=0.05, le=60
    )
    send_limit_bytes: int = setting(
        256 * 1024, "Unsent bytes on a link beyond which its streams wait in the ring.", unit="bytes", ge=64 * 1024
    )
    linger_seconds: float = setting(
        10.0, "How long a stream is still carried after its last viewer left.", unit="seconds", ge=0, le=3600
    )
    upstreams: list[RequiredRelayUrl] = setting(
        list,
        "Nodes that this one dials and offers its streams to, for a node that nobody can dial: a JSON list of "
        "`wss://host/relay` ([deployment.md](deployment.md#behind-a-router)). It announces no address then, unless "
        "`node.relay_url` is set.",
        max_length=16,
    )

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < RELAY_SECRET_MIN_CHARACTERS:
            raise ValueError(f"a secret has at least {RELAY_SECRET_MIN_CHARACTERS} characters")
        return secret

    @model_validator(mode="after")
    def _check(self) -> RelaySettings:
        if self.timeout_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"timeout_seconds ({self.timeout_seconds}) must be at least twice heartbeat_seconds "
                f"({self.heartbeat_seconds}), or one late ping ends a link"
            )
        return self


RELAY_SECRET_MIN_CHARACTERS = 8
"""Shortest secret of a cluster: whoever reaches a node can try one after the other."""


class RingSettings(Group):
    """How much of a stream's past each node holds, for resuming and for late joiners."""

    seconds: float = setting(
        75.0,
        "Media time held for each stream; more than `edge.window_seconds`, so that an edge that begins later can name "
        "the same.",
        unit="seconds",
        ge=1,
        le=3600,
    )
    bytes: int = setting(96 * MIB, "Most memory for the media of one stream.", unit="bytes", ge=1 * MIB)


class IntermediateSettings(Group):
    """Relaying in the middle."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8082, "Port of `/relay` and the probes; 0 means any free one.")


class TlsSettings(Group):
    """The certificate of every listener: with it all of them are https and wss, and none stays open without."""

    certificate: Path | None = setting(
        None, "File with the certificate and its chain (PEM); read again within a second of a change, and on SIGHUP."
    )
    key: Path | None = setting(None, "File with the certificate's private key (PEM), without a password.")

    @model_validator(mode="after")
    def _check(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: set both or neither")
        return self


class ControlApiSettings(Group):
    """The REST interface."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8081, "Port of `/api/v1/` and the probes; 0 means any free one.")
    tokens: list[SecretStr] = setting(
        list, "Bearer tokens that may do everything; without a token of any kind only this machine is answered."
    )
    write_tokens: list[SecretStr] = setting(list, "Bearer tokens that may read and change streams, but not access.")
    read_tokens: list[SecretStr] = setting(list, "Bearer tokens that may only read.")
    requests_per_second: float = setting(
        100.0, "Requests that one token, or without tokens one address, may make in the long run.", gt=0, le=100_000
    )
    requests_burst: int = setting(
        1000, "Requests that one token or address may make at once; more are answered 429.", ge=1, le=1_000_000
    )
    metrics_names_max: int = setting(
        100,
        "Most streams, and most nodes, that `/metrics` tells of by name, the first in the alphabet; 0 for none.",
        ge=0,
        le=10_000,
    )
    cors_origins: list[str] = setting(
        list, "Origins of pages elsewhere that may use the API, for example `https://ops.example.org`; `*` is all."
    )

    @field_validator("tokens", "write_tokens", "read_tokens")
    @classmethod
    def _check_tokens(cls, tokens: list[SecretStr]) -> list[SecretStr]:
        if any(len(token.get_secret_value()) < TOKEN_MIN_CHARACTERS for token in tokens):
            raise ValueError(f"a token has at least {TOKEN_MIN_CHARACTERS} characters")
        return tokens


TOKEN_MIN_CHARACTERS = 8
"""Shortest API token: a shorter one is a placeholder somebody forgot."""


class Settings(Group):
    """The settings of all services; a service reads the groups that concern it."""

    node: NodeSettings = NodeSettings()
    log: LogSettings = LogSettings()
    registry: RegistrySettings = RegistrySettings()
    relay: RelaySettings = RelaySettings()
    ring: RingSettings = RingSettings()
    packager: PackagerSettings = PackagerSettings()
    ingress: IngressSettings = IngressSettings()
    intermediate: IntermediateSettings = IntermediateSettings()
    edge: EdgeSettings = EdgeSettings()
    tls: TlsSettings = TlsSettings()
    access: AccessSettings = AccessSettings()
    control_api: ControlApiSettings = ControlApiSettings()
