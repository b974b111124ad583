"""From the address of a stream in another cluster to the ways it is fetched by."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from headrace.clock import Clock
from headrace.identifiers import Epoch, InvalidName, StreamName, stream_name
from headrace.registry.feed_uri import FeedUri, Scheme
from headrace.registry.transfers import session_id
from headrace.session.border import RELAY_PATH, Border, BorderError, parse_far
from headrace_ingress.border.playing import PLAY_PATH, PlayUpstream
from headrace_ingress.border.pulling import PullSource
from headrace_ingress.border.upstream import NoUpstream, RelayUpstream, Upstream


@dataclass(frozen=True, slots=True)
class BorderSources:
    """Makes sources of streams of other clusters.

    Attributes:
        border: how this process goes there.
        clock: of this process.
    """

    border: Border
    clock: Clock

    def make(self, uri: FeedUri, remote_name: str, facts: MutableMapping[str, str]) -> PullSource:
        """Return a source for one attempt; what it learns of the other side is told in `facts`."""
        name, upstreams = StreamName(remote_name), list[Upstream]()
        try:
            name, upstreams = self._ways(uri, remote_name)
        except ValueError as error:
            upstreams.append(NoUpstream(BorderError("bad_address", str(error), is_final=True)))

        def tell(epoch: Epoch) -> None:
            facts["remote_session"] = session_id(name, epoch)

        return PullSource(upstreams, self.clock, tell)

    def _ways(self, uri: FeedUri, remote_name: str) -> tuple[StreamName, list[Upstream]]:
        if uri.scheme in {Scheme.HEADRACE, Scheme.HEADRACES}:
            parts = urlsplit(uri.address)
            name = _name(unquote(parts.path.lstrip("/")) or remote_name)
            return name, [RelayUpstream(self.border, parts.netloc, name)]
        far = parse_far(uri.address)
        if far.path.startswith(PLAY_PATH):
            name = _name(unquote(far.path[len(PLAY_PATH) :]))
            return name, [PlayUpstream(self.border, far, name)]
        name = _name(remote_name)
        relay = RelayUpstream(self.border, replace(far, query=""), name)
        play = PlayUpstream(self.border, far, name)
        if far.path == RELAY_PATH or far.credential is not None:
            return name, [relay, *([] if far.path == RELAY_PATH else [play])]
        return name, [play, relay]


def _name(text: str) -> StreamName:
    try:
        return stream_name(text)
    except InvalidName as error:
        raise ValueError(f"the stream's name there: {error}") from None
