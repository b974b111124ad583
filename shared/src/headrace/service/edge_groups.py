"""The settings groups of viewers: how they are served, and who may watch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import SecretStr, field_validator, model_validator

from headrace.service.group import MIB, Group
from headrace.service.values import (
    Host,
    Network,
    Port,
    setting,
)

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
