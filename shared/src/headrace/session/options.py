"""How a node relays: the settings that links and fetches read."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from headrace.errors import ConfigurationError
from headrace.relay.credentials import Credential, cluster_credential
from headrace.relay.protocol import Timing

SEND_LIMIT_BYTES = 256 * 1024
"""Default limit of unsent bytes on a link; what is unsent is in front of every later heartbeat (docs/protocol.md, 4.6).
"""


class RelayGroup(Protocol):
    """The settings group `relay`, as far as it concerns a node."""

    @property
    def secret(self) -> SecretStr: ...

    @property
    def credentials_file(self) -> Path | None: ...

    @property
    def allow_open(self) -> bool: ...

    @property
    def ca_file(self) -> Path | None: ...

    @property
    def heartbeat_seconds(self) -> float: ...

    @property
    def timeout_seconds(self) -> float: ...

    @property
    def send_limit_bytes(self) -> int: ...

    @property
    def linger_seconds(self) -> float: ...

    @property
    def upstreams(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """How a node relays.

    Attributes:
        own: the credential it proves to others.
        accepted: the credentials it believes.
        credentials_file: where both are read from instead, again and again (`headrace.relay.keyring`).
        tls: what `wss://` addresses of nodes are verified with; `None` for the system's trust.
        allow_open: believe an empty secret from anywhere; without it only where both ends are loopback addresses.
        heartbeat_seconds: between two signs of life on a link.
        timeout_seconds: of silence, after which the peer is gone.
        send_limit_bytes: unsent bytes on a link beyond which its streams wait in their rings.
        linger_seconds: how long a stream nobody wants is still carried, and a link nobody uses kept.
        upstreams: URLs of nodes that this one dials, for nobody can dial it; there it offers its streams.
        switch_seconds: how long a stream may be without a parent before its viewers are told.
        history_seconds: how much of the past a stream that begins here is fetched with: children that lose another
            parent a moment later find what they lack.
        standby: keep a link to the next best parent of each stream.
        drain_seconds: how long a stopping node waits for its children to go elsewhere.
        own_hop: add this node to the routes of what it fetches; a process that is part of its parent's node does not.
    """

    own: Credential = field(default_factory=lambda: cluster_credential(""))
    accepted: tuple[Credential, ...] = ()
    credentials_file: Path | None = None
    tls: ssl.SSLContext | None = None
    allow_open: bool = False
    heartbeat_seconds: float = 0.1
    timeout_seconds: float = 0.4
    send_limit_bytes: int = SEND_LIMIT_BYTES
    linger_seconds: float = 10.0
    upstreams: Sequence[str] = ()
    switch_seconds: float = 1.0
    history_seconds: float = 4.0
    standby: bool = True
    drain_seconds: float = 1.0
    own_hop: bool = True

    @classmethod
    def of(cls, group: RelayGroup) -> RelayOptions:
        """Return the options that a settings group asks for: the cluster's secret, for everything, or a file.

        Raises:
            ConfigurationError: when the authorities for TLS cannot be read.
        """
        own = cluster_credential(group.secret.get_secret_value())
        return cls(
            own=own,
            accepted=(own,),
            credentials_file=group.credentials_file,
            tls=_trusting(group.ca_file),
            allow_open=group.allow_open,
            heartbeat_seconds=group.heartbeat_seconds,
            timeout_seconds=group.timeout_seconds,
            send_limit_bytes=group.send_limit_bytes,
            linger_seconds=group.linger_seconds,
            upstreams=group.upstreams,
        )

    @property
    def timing(self) -> Timing:
        """The part that a relay connection needs."""
        return Timing(self.heartbeat_seconds, self.timeout_seconds)


def _trusting(ca_file: Path | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # a file without a certificate is an SSLError, which is one
        raise ConfigurationError(f"relay.ca_file: {ca_file}: {error.strerror or error}") from None
