"""The sources that this node could run: its own configuration's, and those that the cluster was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from headrace.identifiers import StreamName
from headrace.registry.desired import DesiredConflict, DesiredKey, DesiredKind, DesiredLimit, DesiredSource
from headrace.registry.feed_uri import FeedUri, InvalidUri, Transport, parse_uri
from headrace.registry.leases import StoreAway
from headrace.registry.records import InvalidRecord
from headrace.registry.registry import Registry
from headrace.registry.sealing import SealError, Uri
from headrace.registry.transfers import OPTION_PUBLISHER, OPTION_REMOTE_NAME, OPTION_SLATE
from headrace.transport.reaching import Network
from headrace_ingress.addresses import may_reach
from headrace_ingress.slate import SLATE_WORDS

if TYPE_CHECKING:
    from headrace.clock import Clock

BY_CONFIGURATION = "configuration"
"""Who asks for sources that a node's configuration shares."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A feed that is wanted.

    Attributes:
        uris: where from, checked; the first that works is used.
        transport: how RTSP media travels unless the URI says.
        loop: whether a file begins again unless the URI says.
        fail_back_seconds: how often the first is tried while another is used; 0 for never.
        remote_name: the stream's name in another cluster, where the URI leads there and does not say it.
        slate: what fills in while it is away, as `ingress.slate`; `None` for what that says.
        refusal: why it may not be fetched by this node; there are no URIs then. Empty when it may.
    """

    uris: tuple[FeedUri, ...]
    transport: Transport = "tcp"
    loop: bool = True
    remote_name: str = ""
    fail_back_seconds: float = 30.0
    slate: str | None = None
    refusal: str = ""

    @property
    def shown(self) -> str:
        """Where from, without credentials."""
        return self.uris[0].shown if self.uris else "an address that is not allowed"


class Wanted:
    """What this node could run, by stream.

    A source of the own configuration is what the configuration says, whatever the record of the same name says: the
    operator of this machine is trusted with its network, whoever may write records is not.

    Args:
        own: the sources of the own configuration.
        own_uris: their URIs as configured, for sharing.
        share: put them as desired records.
        networks: private networks that sources of others may reach.
        registry: where desired records are.
        clock: tells the time of records.
    """

    def __init__(
        self,
        own: Mapping[StreamName, SourceRequest],
        own_uris: Mapping[StreamName, Sequence[str]],
        share: bool,
        networks: Sequence[Network],
        registry: Registry,
        clock: Clock,
    ) -> None:
        self._own = dict(own)
        self._own_uris = own_uris
        self._unshared = set(own) if share else set()
        self._networks = networks
        self._registry = registry
        self._clock = clock
        self._requests: dict[StreamName, SourceRequest] = dict(own)

    @property
    def requests(self) -> Mapping[StreamName, SourceRequest]:
        """What could be run now."""
        return self._requests

    def is_own(self, name: StreamName) -> bool:
        """Return whether the configuration of this node names it."""
        return name in self._own

    def is_desired(self, name: StreamName) -> bool:
        """Return whether any node may run it."""
        return source_key(name) in self._registry.desired

    def is_refused(self, name: StreamName) -> bool:
        """Return whether this node may not fetch it."""
        request = self._requests.get(name)
        return request is not None and request.refusal != ""

    def look(self, keys: Collection[DesiredKey]) -> None:
        """Take over desired records that changed."""
        for key in keys:
            if key.kind is DesiredKind.SOURCE and StreamName(key.name) not in self._own:
                self._look_at(StreamName(key.name))

    async def share(self) -> None:
        """Put the own sources as desired records, each once, as soon as the store answers."""
        for name in tuple(self._unshared):
            if not self._registry.connected:
                return
            try:
                await self._share(name)
            except StoreAway:
                return
            except (InvalidRecord, SealError, DesiredConflict, DesiredLimit) as error:
                log.warning("source_not_shared", stream=name, reason=str(error))
            self._unshared.discard(name)

    async def _share(self, name: StreamName) -> None:
        request = self._own[name]
        record = DesiredSource(
            stream=name,
            uris=tuple(Uri(uri) for uri in self._own_uris[name]),
            transport=request.transport,
            loop=request.loop,
            options={OPTION_SLATE: request.slate} if request.slate in SLATE_WORDS else {},
            by=BY_CONFIGURATION,
            since_us=int(self._clock.utc() * 1_000_000),
        )
        known = self._registry.desired.get(source_key(name))
        if known is None:
            await self._registry.put_desired(record, expect=0)
        elif isinstance(known.record, DesiredSource) and is_outdated(known.record, record):
            await self._registry.put_desired(record, expect=known.revision)

    def _look_at(self, name: StreamName) -> None:
        entry = self._registry.desired.get(source_key(name))
        self._requests.pop(name, None)
        if entry is None or not isinstance(entry.record, DesiredSource):
            return
        if OPTION_PUBLISHER in entry.record.options:
            return  # who pushes it brings it (headrace_ingress.border.intake), and must find it unclaimed
        try:
            uris = tuple(self._checked(entry.record.uris))
        except SealError as error:
            # Another node may have the secret that this one has not.
            log.info("source_left_to_others", stream=name, reason=str(error))
            return
        except InvalidUri as error:
            # Another node may have the network that this one has not; when none has, somebody must say so.
            log.info("source_left_to_others", stream=name, reason=str(error))
            self._requests[name] = SourceRequest((), refusal=str(error))
            return
        remote = entry.record.options.get(OPTION_REMOTE_NAME, name)
        asked = entry.record.options.get(OPTION_SLATE)
        slate = asked if asked in SLATE_WORDS else None  # a path would be a file of this machine
        self._requests[name] = SourceRequest(uris, entry.record.transport, entry.record.loop, remote, slate=slate)

    def _checked(self, uris: Iterable[Uri]) -> Iterable[FeedUri]:
        for uri in uris:
            checked = parse_uri(uri.reveal(), trusted=False)
            if checked.scheme.is_network and not may_reach(checked, self._networks):
                raise InvalidUri(
                    f"{checked.shown}: it is in a private network that ingress.allow_networks does not name"
                )
            yield checked


def source_key(name: StreamName) -> DesiredKey:
    """Return the key of a stream's source."""
    return DesiredKey(DesiredKind.SOURCE, name)


def is_outdated(known: DesiredSource, record: DesiredSource) -> bool:
    """Return whether a record that a configuration shared says something else than the configuration does now."""
    shared = (record.uris, record.transport, record.loop, record.options)
    same = (known.uris, known.transport, known.loop, known.options) == shared
    return known.by == BY_CONFIGURATION and not same
