"""The settings groups of feeds in: how they are packaged, where they come from, who may publish."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from headrace.identifiers import stream_name
from headrace.service.group import MIB, Group
from headrace.service.values import (
    Host,
    Network,
    Port,
    StreamKey,
    Uri,
    setting,
)


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


SlateText = Annotated[str, Field(min_length=1, max_length=4096)]
"""A slate: a word or a path."""


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
    slate: SlateText | None = setting(
        None,
        "What fills in while it is away: `none`, `built-in` or the path of a PNG or JPEG file; as `ingress.slate`.",
    )


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
    rtsp_port: Port = setting(
        8554, "Port of RTSP; 0 means any free one. Media by UDP come to ports that are free then."
    )
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
    silence_seconds: float = setting(
        0.9,
        "Shortest silence of a feed that viewers are told, as `interrupted`, while its connection is kept. Feeds that "
        "pause by themselves, as pictures that come every few seconds do, are told after twice their longest pause.",
        unit="seconds",
        ge=0.2,
        le=300,
    )
    slate: SlateText = setting(
        "none",
        "What viewers see while a source that was live is away: `none` (the last picture), `built-in` (the words NO "
        "SIGNAL), or the path of a PNG or JPEG file of at most 8 MiB and 4096 pixels each way (docs/feeds.md).",
    )
    retry_min_seconds: float = setting(0.5, "First wait before a feed is tried again.", unit="seconds", gt=0, le=300)
    retry_max_seconds: float = setting(
        10.0, "Longest wait before a feed is tried again.", unit="seconds", gt=0, le=3600
    )

    workers: int = setting(
        2,
        "Processes that feeds are read in, so that a fault in a library or one bad feed costs that feed and no other; "
        "0 reads all in this process.",
        unit="processes",
        ge=0,
        le=64,
    )
    worker_memory_bytes: int = setting(
        2 * 1024 * MIB,
        "Resident memory of such a process beyond which it is started again: it takes 60 MB, and 1 to 5 for each feed "
        "that is not encoded.",
        unit="bytes",
        ge=128 * MIB,
    )
    feed_cpu: float = setting(
        0.7,
        "CPU that the thread of one feed may take beside others, over ten seconds; one that takes more goes on in a "
        "process of its own.",
        unit="cores",
        ge=0.05,
        le=1,
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
