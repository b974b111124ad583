"""Links to other clusters: one for each stream that goes or comes, for as long as it does.

A border link speaks the relay protocol as links between nodes do, under a credential that the address holds. What
answers is told apart by its handshake: a server that opens a WebSocket without our subprotocol is somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry

from headrace.clock import Clock
from headrace.registry.records import NodeRecord
from headrace.relay.credentials import Credential, Identity, cluster_credential
from headrace.relay.link import NORMAL
from headrace.session.link import Link, LinkError, Owner
from headrace.session.metrics import RelayMetrics
from headrace.session.options import RelayOptions
from headrace.session.stillness import Stillness
from headrace.transport.dialling import DialError, dial
from headrace.transport.reaching import Network, NotReachable, resolve_allowed
from headrace.version import SOFTWARE
from headrace.wire.relay import CONTROL_MAX_BYTES, SUBPROTOCOL

PUBLISHER: Final = "publisher"
"""The role of who pushes a stream over a border."""

SUBSCRIBER: Final = "subscriber"
"""The role of who fetches a stream over a border."""

BORDER_ROLES: Final = frozenset({PUBLISHER, SUBSCRIBER})
"""The roles of who is no node of this cluster, whatever name it says."""

RELAY_PATH: Final = "/relay"

_PORTS: Final = {"ws": 80, "wss": 443}


class BorderError(Exception):
    """The other cluster was not reached, or does not take part; the text holds no credentials.

    Attributes:
        code: a word for programs: `unreachable`, `unresolved`, `forbidden`, `loop`, `unsupported`, `refused`.
        is_final: trying again is of no use.
    """

    def __init__(self, code: str, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Far:
    """Where another cluster is reached.

    Attributes:
        scheme: `ws` or `wss`.
        host, port: of it.
        path: as given; `/` when none was.
        query: as given, for example a viewer token.
        credential: what the address says that we are; `None` when it says nothing.
        trusted: it is a node of this very cluster.
    """

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str = field(default="", repr=False)
    credential: Credential | None = None
    trusted: bool = False

    def url(self, path: str, query: str = "") -> str:
        """Return the URL of a path there."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{path}" + (f"?{query}" if query else "")


def parse_far(text: str) -> Far:
    """Return what `ws://[key:secret@]host[:port][/path][?query]` says.

    Raises:
        ValueError: a sentence without credentials.
    """
    try:
        parts = urlsplit(text)
        scheme, port = parts.scheme.lower(), parts.port
    except ValueError:
        raise ValueError("the address is not of the form ws://host:port/path") from None
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError("an address of another server is of the form ws://host:port/path")
    credential = None
    if parts.username:
        credential = Credential(unquote(parts.username), unquote(parts.password or "").encode())
    return Far(scheme, parts.hostname, port or _PORTS[scheme], parts.path or "/", parts.query, credential)


@dataclass(frozen=True, slots=True)
class Border:
    """How this process goes over borders.

    Attributes:
        node: this node, in the hello.
        options: of the relay; the credential of an address stands in for its own.
        networks: private networks that may be reached.
        nodes: returns the nodes of this cluster: an address that is theirs leads back.
        clock: of this process.
        metrics: counts border links, apart from the links between nodes.
    """

    node: str
    options: RelayOptions
    networks: Sequence[Network]
    nodes: Callable[[], Iterable[NodeRecord]]
    clock: Clock
    metrics: RelayMetrics = field(default_factory=lambda: RelayMetrics.make(CollectorRegistry()))

    def own(self, name: str) -> Far:
        """Return where a node of this cluster is reached.

        Raises:
            BorderError: when it is not known, or serves nobody.
        """
        name = name.rpartition("@")[2]  # a node needs no credentials, and they had better not be shown
        record = next((record for record in self.nodes() if record.node == name), None)
        if record is None or not record.relay_url:
            raise BorderError("unknown_node", f"there is no node {name[:64]!r} in this cluster that serves others")
        far = parse_far(record.relay_url)
        return Far(far.scheme, far.host, far.port, far.path, credential=self.options.own, trusted=True)

    async def address(self, far: Far) -> str | None:
        """Return the checked IP address to connect to; `None` when any that the name leads to will do.

        Raises:
            BorderError: when there is none, or it is this cluster.
        """
        if far.trusted:
            return None
        try:
            address = await resolve_allowed(far.host, self.networks)
        except NotReachable as error:
            raise BorderError(error.code, str(error), is_final=error.code == "forbidden") from None
        own = {place for node in self.nodes() for place in _places(node)}
        if {(far.host, far.port), (address, far.port)} & own:
            text = "the address leads back to this cluster: write headrace://node/stream for what is in it"
            raise BorderError("loop", text, is_final=True)
        return address

    async def link(self, far: Far, role: str, owner: Owner) -> Link:
        """Return an open link to another cluster.

        Raises:
            BorderError: when it does not come about.
        """
        address = await self.address(far)
        failure: DialError | None = None
        for path in dict.fromkeys((far.path, RELAY_PATH)):
            try:
                return await self._link(far, path, address, role, owner)
            except DialError as error:
                if failure is None or error.code == "subprotocol":
                    failure = error
                if error.code in {"unreachable", "timeout"}:
                    break
            except LinkError as error:
                is_final = error.code == "bad_proof" and role == PUBLISHER
                raise BorderError("refused", f"the other server refuses: {error.detail}", is_final=is_final) from None
        assert failure is not None
        raise border_error(failure)

    async def _link(self, far: Far, path: str, address: str | None, role: str, owner: Owner) -> Link:
        channel = await dial(
            far.url(path),
            SUBPROTOCOL,
            max_size=CONTROL_MAX_BYTES,
            send_limit_bytes=self.options.send_limit_bytes,
            address=address,
            tls=self.options.tls if far.trusted else None,
        )
        own = far.credential or cluster_credential("")
        open_allowed = self.options.allow_open or channel.is_loopback
        identity = Identity(self.node, role, own, {own.key: own}, open_allowed, SOFTWARE)
        stillness = Stillness(self.options.timeout_seconds / 2)
        link = Link(channel, identity, self.options.timing, owner, self.clock, self.metrics, stillness, dialled=True)
        link.start()
        try:
            await link.wait_open()
        except asyncio.CancelledError:
            link.close(NORMAL, "stopped")
            raise
        return link


def border_error(error: DialError) -> BorderError:
    """Return what a dial that failed means."""
    if error.code == "subprotocol":
        text = "the other server is no Headrace; what WCS servers speak needs WebRTC, which is not there yet"
        return BorderError("unsupported", text, is_final=True)
    if error.code == "handshake":
        return BorderError("unreachable", f"no Headrace and no WCS server answers there: {error.detail}")
    return BorderError("unreachable", error.detail)


def _places(node: NodeRecord) -> Iterable[tuple[str, int]]:
    for url in (node.relay_url, node.public_url):
        parts = urlsplit(url)
        if parts.hostname:
            yield parts.hostname, parts.port or (443 if parts.scheme in {"https", "wss"} else 80)
