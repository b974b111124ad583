"""The process: builds the objects and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

from aiohttp import web

from headrace.errors import ConfigurationError
from headrace.http.application import make_application
from headrace.http.carried import CarriedDoor
from headrace.http.listener import HttpListener
from headrace.identifiers import NODE_ID_MAX_BYTES, StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.feed_uri import BORDER_SCHEMES, InvalidUri, parse_uri
from headrace.registry.registry import Registry
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.registry import make_own_registry
from headrace.service.runtime import Component, Runtime, run_program
from headrace.service.settings import IngressSettings, PackagerSettings, Settings
from headrace.session.border import Border
from headrace.session.membership import join_cluster
from headrace.session.options import RelayOptions
from headrace_ingress.admission import Keys
from headrace_ingress.border.door import BorderDoor
from headrace_ingress.border.intake import Intake
from headrace_ingress.border.sources import BorderSources
from headrace_ingress.check.asking import CheckDoor, local_checks
from headrace_ingress.feed import FeedOptions
from headrace_ingress.feeds import Feeds
from headrace_ingress.http_door import HttpDoor
from headrace_ingress.jobs import ReaderOptions
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.picture import BadPicture, fit, load_picture
from headrace_ingress.publications import Publications, PublishOptions
from headrace_ingress.reading import Readers, ThreadReaders
from headrace_ingress.rtmp_door import RtmpDoor
from headrace_ingress.rtsp_door import RtspDoor
from headrace_ingress.slate import BUILT_IN, NONE, SIZE_DEFAULT
from headrace_ingress.srt_door import SrtDoor
from headrace_ingress.wanted import SourceRequest, Wanted
from headrace_ingress.workers.pool import Workers, WorkersOptions

ROLE = "ingress"


def build(
    settings: Settings, runtime: Runtime, hub: Hub | None = None, registry: Registry | None = None
) -> Sequence[Component]:
    """Return the components of an ingress, in the order to start them.

    Args:
        settings: of all services.
        runtime: of this process.
        hub: of the process that this ingress is a part of: then it feeds that hub and serves publishers alone.
            Without it, it makes its own, and a node that serves its streams to others.
        registry: of that process, or to be used instead of the one that the settings name.

    Raises:
        ConfigurationError: when a source's URI is not allowed, or the registry's cannot be used.
    """
    requests = source_requests(settings.ingress)
    if hub is not None and registry is not None:
        app = make_application(runtime)
        listener = HttpListener(
            ROLE, settings.ingress.host, settings.ingress.port, app, tls=runtime.tls, setting="ingress.port"
        )
        border = BorderDoor(RelayOptions.of(settings.relay), hub, runtime)
        app.router.add_get("/relay", border.handler())
        runtime.health.add("relay", lambda: border.problem)
        runtime.reloads.extend([border.refresh_credentials] if settings.relay.credentials_file is not None else [])
        *doors, feeds = make_doors(settings, runtime, requests, hub, registry, app)
        assert isinstance(feeds, Feeds)
        intake = make_intake(feeds)
        border.on_offers = intake.offers_changed
        return [listener, border, *doors, feeds, intake]
    hub = Hub(RingLimits(settings.ring.seconds, settings.ring.bytes))
    registry = registry or make_own_registry(settings, runtime)
    listening = settings.ingress
    app = make_application(runtime)
    listener = HttpListener(ROLE, listening.host, listening.port, app, tls=runtime.tls, setting="ingress.port")
    member = join_cluster(
        settings,
        runtime,
        hub,
        registry,
        lambda: (listening.host, listener.bound_port),
        reach=listening.allow_networks,
    )
    app.router.add_get("/relay", member.node.relay_handler())
    CarriedDoor(hub, runtime.node, settings.relay.secret.get_secret_value(), runtime.clock).add_to(app)
    CheckDoor(local_checks(listening), settings.relay.secret.get_secret_value(), runtime.clock).add_to(app)
    *doors, feeds = make_doors(settings, runtime, requests, hub, registry, app)
    assert isinstance(feeds, Feeds)
    intake = make_intake(feeds)
    member.node.on_offers = intake.offers_changed
    return [listener, member, *doors, feeds, intake]


def make_intake(feeds: Feeds) -> Intake:
    """Return what takes the streams that other clusters push here."""
    return Intake(feeds.hub, feeds.registry, feeds.runtime, feeds.metrics, feeds.feed_options, feeds.lease_seconds)


def border_sources(settings: Settings, runtime: Runtime, registry: Registry) -> BorderSources:
    """Return what fetches the streams of other clusters."""
    networks = tuple(ip_network(text) for text in settings.ingress.allow_networks)
    options = RelayOptions.of(settings.relay)
    name = f"pull-{runtime.node}"[:NODE_ID_MAX_BYTES]  # another than the node's, which may be whom it is fetched from
    border = Border(name, options, networks, registry.nodes.values, runtime.clock)
    return BorderSources(border, runtime.clock)


def source_requests(group: IngressSettings) -> dict[StreamName, SourceRequest]:
    """Return the feeds that the configuration names.

    Raises:
        ConfigurationError: one line for each URI that is not allowed.
    """
    requests, problems = {}, []
    for name, source in group.sources.items():
        uris = []
        for place, uri in (("uri", source.uri), *((f"backups.{at}", one) for at, one in enumerate(source.backups))):
            try:
                uris.append(parse_uri(uri.get_secret_value(), trusted=True))
            except InvalidUri as error:
                problems.append(f"ingress.sources.{name}.{place}: {error}")
        request = SourceRequest(
            tuple(uris),
            source.transport,
            source.loop,
            fail_back_seconds=source.fail_back_seconds,
            slate=source.slate,
        )
        requests[StreamName(name)] = request
        if source.slate is not None:
            problems += slate_problems(f"ingress.sources.{name}.slate", source.slate, request)
    problems += slate_problems("ingress.slate", group.slate)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return requests


def slate_problems(setting: str, slate: str, request: SourceRequest | None = None) -> list[str]:
    """Return why what a setting says cannot be a slate, in a line, if it cannot be.

    The picture is decoded and fitted here, once and before anything runs, so that a bad one is told to whoever wrote
    the setting.
    """
    if slate == NONE:
        return []
    if request is not None and any(uri.scheme in BORDER_SCHEMES for uri in request.uris):
        return [f"{setting}: a stream of another cluster has that cluster's slate"]
    try:
        if slate != BUILT_IN:
            fit(load_picture(Path(slate)), *SIZE_DEFAULT)
    except BadPicture as bad:
        return [f"{setting}: {slate} cannot be the picture: {bad}"]
    return []


def make_doors(
    settings: Settings,
    runtime: Runtime,
    requests: Mapping[StreamName, SourceRequest],
    hub: Hub,
    registry: Registry,
    app: web.Application,
) -> Sequence[Component]:
    """Return everything that media come in by; doors by HTTP are added to `app`."""
    group, metrics = settings.ingress, IngressMetrics.make(runtime.metrics)
    readers = make_readers(settings, runtime, metrics)
    feeds = make_feeds(settings, runtime, requests, hub, registry, metrics, readers)
    publications = Publications(
        hub,
        registry,
        runtime,
        metrics,
        publish_options(group),
        feeds.feed_options,
        readers,
        group.slate,
        lambda name: name in feeds.wanted.requests or feeds.wanted.is_desired(name),
    )
    feeds.on_begin, feeds.on_fenced_elsewhere = publications.displace, publications.fence
    HttpDoor(publications, metrics, group.host).add_to(app)
    # Workers first, for what they read must have ended before them.
    doors: list[Component] = [readers, publications] if isinstance(readers, Workers) else [publications]
    if group.rtmp:
        doors.append(RtmpDoor(group.host, group.rtmp_port, publications, metrics, tls=runtime.tls))
    if group.rtsp:
        doors.append(RtspDoor(group.host, group.rtsp_port, publications, metrics, tls=runtime.tls))
    if group.srt:
        passphrase = group.srt_passphrase.get_secret_value()
        doors.append(SrtDoor(group.host, group.srt_port, passphrase, publications, runtime, metrics))
    # Feeds last: a port that is taken ends the program before a camera was dialled.
    return [*doors, feeds]


def publish_options(group: IngressSettings) -> PublishOptions:
    """Return who may publish, as the settings say."""
    keys = {name: key.get_secret_value() for name, key in group.publish_keys.items()}
    return PublishOptions(Keys(keys), group.publish_takes_over, group.publishers_max, group.publish_away_seconds)


def make_readers(settings: Settings, runtime: Runtime, metrics: IngressMetrics) -> Readers:
    """Return who reads feeds: worker processes, or with 0 of them the threads of this process."""
    group = settings.ingress
    roots, networks = tuple(group.file_roots), tuple(str(network) for network in group.allow_networks)
    options = ReaderOptions(packager_options(settings.packager), roots, group.stall_seconds, networks)
    if group.workers == 0:
        return ThreadReaders(options, runtime.clock)
    limits = (group.workers, group.worker_memory_bytes, group.feed_cpu)
    return Workers(runtime, metrics, options, WorkersOptions(*limits, settings.log.level, settings.log.format))


def make_feeds(
    settings: Settings,
    runtime: Runtime,
    requests: Mapping[StreamName, SourceRequest],
    hub: Hub,
    registry: Registry,
    metrics: IngressMetrics,
    readers: Readers,
) -> Feeds:
    """Return the component that runs the feeds."""
    group = settings.ingress
    uris = {
        StreamName(name): [uri.get_secret_value() for uri in (source.uri, *source.backups)]
        for name, source in group.sources.items()
    }
    networks = tuple(ip_network(text) for text in group.allow_networks)
    return Feeds(
        Wanted(requests, uris, group.share_sources, networks, registry, runtime.clock),
        hub,
        registry,
        runtime,
        metrics,
        readers,
        settings.registry.lease_seconds,
        FeedOptions(
            packager_options(settings.packager),
            group.retry_min_seconds,
            group.retry_max_seconds,
            group.silence_seconds,
        ),
        slate=group.slate,
        border=border_sources(settings, runtime, registry),
    )


def packager_options(group: PackagerSettings) -> PackagerOptions:
    """Return the settings group as the packager takes it."""
    return PackagerOptions(
        chunk_seconds=group.chunk_seconds,
        part_seconds=group.part_seconds,
        segment_seconds=group.segment_seconds,
        segment_max_seconds=group.segment_max_seconds,
        hold_seconds=group.hold_seconds,
    )


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-ingress", ROLE, build)
