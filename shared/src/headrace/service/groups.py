"""The settings of all services, in groups; docs/configuration.md is made from what stands here."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationInfo, field_validator, model_validator

from headrace.identifiers import stream_name
from headrace.service.values import (
    Host,
    Network,
    OptionalNodeId,
    Port,
    PublicUrl,
    RegistryUrl,
    RelayUrl,
    RequiredRelayUrl,
    StreamKey,
    Uri,
    setting,
)
from headrace.telemetry.logging import LogFormat, LogLevel

MIB = 1024 * 1024

LAYERS = {"ingress": 0, "intermediate": 1, "edge": 1000}
"""The layer of each role unless `node.layer` says otherwise: media flows from lower to higher layers."""


class Group(BaseModel):
    """A group of settings: unknown names are errors and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _keep_switches_apart(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `port = true`, which would be port 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("true and false are not allowed")
        return value


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


class PackagerSettings(Group):
    """How ingress cuts a feed."""

    chunk_seconds: float = setting(
        0.1, "Length of a chunk, the unit of relaying; at least one frame.", unit="seconds", gt=0, le=10
    )
    part_seconds: float = setting(0.5, "Length of an LL-HLS part.", unit="seconds", gt=0, le=10)
    segment_seconds: float = setting(
        2.0, "Length after which a segment ends with its GOP.", unit="seconds", gt=0, le=60
    )
    segment_max_seconds: float = setting(
        6.0, "Length after which a segment is cut inside a GOP.", unit="seconds", gt=0, le=120
    )
    hold_seconds: float = setting(
        0.5, "Longest wait for a track that is late before the others go on.", unit="seconds", ge=0, le=10
    )

    @model_validator(mode="after")
    def _check(self) -> PackagerSettings:
        names = ("chunk_seconds", "part_seconds", "segment_seconds", "segment_max_seconds")
        for shorter, longer in itertools.pairwise(names):
            if getattr(self, shorter) > getattr(self, longer):
                raise ValueError(
                    f"{shorter} ({getattr(self, shorter)}) must not be longer than {longer} ({getattr(self, longer)})"
                )
        return self


class SourceSettings(Group):
    """One feed."""

    uri: Uri = setting(
        ...,
        "Where the feed comes from (docs/feeds.md): `rtsp://`, `rtmp://`, `http://` and each with `s`, "
        "`udp://`, `srt://`, `ws://`, `file:`, `test:`.",
    )
    backups: list[Uri] = setting(
        list, "Where it comes from while `uri` is away, in order: the first that works.", max_length=7
    )
    fail_back_seconds: float = setting(
        30.0,
        "How often `uri` is tried while a backup is carried; 0 stays with the backup until that breaks.",
        unit="seconds",
        ge=0,
        le=86_400,
    )
    transport: Literal["tcp", "udp"] = setting("tcp", "How RTSP media travels: `tcp` or `udp`.")
    loop: bool = setting(True, "Begin a file again when it ends.")


def _source_of(value: Any) -> Any:
    """Return a source's table where a URI, or a list of them, stands for it."""
    if isinstance(value, str):
        return {"uri": value}
    if isinstance(value, list) and value:
        return {"uri": value[0], "backups": value[1:]}
    return value


class IngressSettings(Group):
    """Feeds in."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8080, "Port of `/relay` and the probes; 0 means any free one.")
    rtmp: bool = setting(True, "Take publishers by RTMP, at `rtmp://host:1935/live/{stream}` (docs/feeds.md).")
    rtmp_port: Port = setting(1935, "Port of RTMP; 0 means any free one.")
    srt: bool = setting(
        False, "Take publishers that call by SRT, at `srt://host:8890?streamid={stream}`; needs libsrt (docs/feeds.md)."
    )
    srt_port: Port = setting(8890, "Port of SRT, UDP; 0 means any free one.")
    srt_passphrase: SecretStr = setting(
        SecretStr(""), "Passphrase that publishers by SRT encrypt with, 10 to 79 characters; empty means none."
    )
    rtsp: bool = setting(
        False, "Take publishers by RTSP (ANNOUNCE and RECORD), at `rtsp://host:8554/live/{stream}` (docs/feeds.md)."
    )
    rtsp_port: Port = setting(8554, "Port of RTSP; 0 means any free one. Media by UDP come to ports that are free then.")
    publish_keys: dict[str, SecretStr] = setting(
        dict,
        "Keys of publishers by stream name, or by a beginning of names with `*` after it; the longest that matches "
        "counts. A stream without a key can only be published from this machine, while `host` is a loopback address. "
        "In the environment as a JSON object.",
    )
    publish_takes_over: bool = setting(
        False, "Let a second publisher of a stream replace the first; otherwise it is refused."
    )
    publishers_max: int = setting(200, "Most publishers at once; more are refused.", unit="publishers", ge=1, le=10_000)
    publish_away_seconds: float = setting(
        300.0, "How long a stream is kept after its publisher left.", unit="seconds", ge=1, le=86_400
    )
    sources: dict[StreamKey, SourceSettings] = setting(
        dict,
        "Feeds by stream name, as a table (`[ingress.sources.cam1]`, `uri = ...`), or the URI alone "
        '(`cam1 = "rtsp://..."`), or several, the preferred first (`cam1 = ["rtsp://...", "file:..."]`); '
        "in the environment as a JSON object.",
    )
    share_sources: bool = setting(
        False,
        "Ask the cluster to fetch these sources, so that another ingress takes one over when this node dies; otherwise "
        "only nodes whose configuration names it do.",
    )
    file_roots: list[Path] = setting(
        list,
        "Folders below which files may be read that the API asks for; those in the configuration may lie anywhere.",
    )
    allow_networks: list[Network] = setting(
        list, "Private networks that addresses given by API may reach; those in the configuration are trusted."
    )
    stall_seconds: float = setting(
        5.0, "Silence of a feed after which it counts as broken.", unit="seconds", ge=0.5, le=300
    )
    retry_min_seconds: float = setting(0.5, "First wait before a feed is tried again.", unit="seconds", gt=0, le=300)
    retry_max_seconds: float = setting(
        10.0, "Longest wait before a feed is tried again.", unit="seconds", gt=0, le=3600
    )

    @field_validator("publish_keys")
    @classmethod
    def _check_publish_keys(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, key in keys.items():
            if name != "*":
                stream_name(name.removesuffix("*").rstrip("/"))
            if not PUBLISH_KEY_MIN_CHARACTERS <= len(key.get_secret_value()) <= PUBLISH_KEY_MAX_CHARACTERS:
                raise ValueError(
                    f"a publisher's key has {PUBLISH_KEY_MIN_CHARACTERS} to {PUBLISH_KEY_MAX_CHARACTERS} characters"
                )
        return keys

    @field_validator("srt_passphrase")
    @classmethod
    def _check_passphrase(cls, passphrase: SecretStr) -> SecretStr:
        size = len(passphrase.get_secret_value().encode())
        if size and not 10 <= size <= 79:
            raise ValueError("SRT's passphrase has 10 to 79 characters")
        return passphrase

    @field_validator("sources", mode="before")
    @classmethod
    def _accept_bare_uris(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _source_of(source) for name, source in value.items()}

    @model_validator(mode="after")
    def _check(self) -> IngressSettings:
        if self.retry_min_seconds > self.retry_max_seconds:
            raise ValueError(
                f"retry_min_seconds ({self.retry_min_seconds}) must not be longer than retry_max_seconds "
                f"({self.retry_max_seconds})"
            )
        return self


PUBLISH_KEY_MIN_CHARACTERS = 8
"""Shortest key of a publisher: five guesses a minute from each address are allowed."""

PUBLISH_KEY_MAX_CHARACTERS = 256
"""Longest: encoders cut off what is longer."""


class IntermediateSettings(Group):
    """Relaying in the middle."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8082, "Port of `/relay` and the probes; 0 means any free one.")


WORKERS_MAX = 64
"""Most workers of an edge: more than the cores of machines that serve video."""


class EdgeSettings(Group):
    """Streams out to viewers."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8088, "Port of the pages, `/play/`, `/relay` and the probes; 0 means any free one.")
    fmp4_port: Port = setting(8410, "Port of plain fMP4 over WebSocket; 0 means any free one.")
    workers: int = setting(
        1,
        "Processes that serve viewers side by side, on as many cores; they share the ports, and a stream comes to the "
        "node once ([deployment.md](deployment.md#more-than-one-core)). 1 is this process alone.",
        unit="processes",
        ge=1,
        le=WORKERS_MAX,
    )
    relay_port: Port = setting(
        0,
        "Port of `/relay` when there are workers: other nodes dial the node itself, viewers its workers. 0 means any "
        "free one.",
    )
    viewers_max: int = setting(10_000, "Most viewers at once; more are refused.", unit="viewers", ge=1)
    viewer_lag_bytes: int = setting(
        4 * MIB,
        "How far a slow viewer may fall behind before it is moved forward to a random access point.",
        unit="bytes",
        ge=64 * 1024,
    )
    heartbeat_seconds: float = setting(
        0.5,
        "How often players are pinged. One that hears nothing for one and a half of these makes another edge ready.",
        unit="seconds",
        ge=0.1,
        le=60,
    )
    window_seconds: float = setting(
        60.0, "How far back viewers of HLS and DASH can seek.", unit="seconds", ge=10, le=3600
    )
    allow_networks: list[Network] = setting(
        list, "Private networks that streams may be pushed to by API; other addresses must be public."
    )
    record_root: Path | None = setting(
        None, "Folder below which pushes to `file:` record streams; absent means that nothing is recorded."
    )


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


HTTP_URL = r"^(https?://[!-~]{1,500})?$"
"""A URL of the operator's, or nothing."""

AccessMode = Literal["public", "token", "webhook", "licence"]


class AccessSettings(Group):
    """Who may watch (docs/tokens.md); edges check it, and the control API issues and revokes tokens."""

    policy: AccessMode = setting(
        "public",
        "What holds for streams that `streams` does not name: `public`, `token` for holders of tokens, `webhook` for "
        "whom `webhook_url` lets in, or `licence` for pages of domains that have a licence.",
    )
    streams: dict[str, AccessMode] = setting(
        dict,
        "The same by stream name, or by a beginning of names with `*` after it; the longest that matches decides. In "
        "the environment as a JSON object.",
    )
    secrets: list[SecretStr] = setting(
        list, "Secrets for tokens signed with HS256, of at least 32 bytes; the first signs what the API issues."
    )
    jwks_file: Path | None = setting(
        None, "File with keys for tokens as a JSON Web Key Set; it is read again when it changes."
    )
    jwks_url: str = setting(
        "", "The same at a URL, for example an identity provider's; redirects are not followed.", pattern=HTTP_URL
    )
    jwks_seconds: float = setting(
        300.0, "How often the keys at `jwks_url` are fetched again.", unit="seconds", ge=5, le=86_400
    )
    webhook_url: str = setting("", "Where it is asked by POST whether a viewer may watch.", pattern=HTTP_URL)
    webhook_secret: SecretStr = setting(SecretStr(""), "Sent to `webhook_url` as `Authorization: Bearer`.")
    webhook_seconds: float = setting(3.0, "How long the webhook's answer may take.", unit="seconds", ge=0.1, le=30)
    webhook_away: Literal["allow", "refuse"] = setting(
        "refuse", "What becomes of new viewers while the webhook does not answer."
    )
    while_away: Literal["allow", "refuse"] = setting(
        "allow", "What becomes of tokens that limit viewers while the registry's store does not answer."
    )

    @field_validator("secrets")
    @classmethod
    def _check_secrets(cls, secrets: list[SecretStr]) -> list[SecretStr]:
        if any(len(secret.get_secret_value().encode()) < ACCESS_SECRET_MIN_BYTES for secret in secrets):
            raise ValueError(f"a secret for tokens has at least {ACCESS_SECRET_MIN_BYTES} bytes")
        return secrets

    @model_validator(mode="after")
    def _check(self) -> AccessSettings:
        modes = {self.policy, *self.streams.values()}
        if "token" in modes and not self.secrets and self.jwks_file is None and not self.jwks_url:
            raise ValueError(
                "streams that need a token need secrets, jwks_file or jwks_url too, or nobody could watch them"
            )
        if "webhook" in modes and not self.webhook_url:
            raise ValueError("streams whose policy is webhook need webhook_url too, or nobody could watch them")
        return self


ACCESS_SECRET_MIN_BYTES = 32
"""Shortest secret for HS256 (RFC 7518, section 3.2)."""


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
