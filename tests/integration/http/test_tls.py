"""With a certificate every listener of every service is TLS, and follows its files while it runs."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from headrace.testing import wait_until
from support.certificates import Authority
from support.redis_server import RedisServer, redis_server  # noqa: F401
from support.services import MODULES, Service, chain, running

HOST = "127.0.0.1"
MEDIA_SECONDS = 60.0

Cluster = dict[str, int]


def shown(port: int, trust: Path) -> bytes:
    """Return the certificate that a listener shows."""
    context = ssl.create_default_context(cafile=trust)
    with socket.create_connection((HOST, port), 10) as plain, context.wrap_socket(plain, server_hostname=HOST) as tls:
        found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found


def answers_plain(port: int) -> bool:
    """Return whether a listener answers HTTP without TLS."""
    with socket.create_connection((HOST, port), 10) as plain:
        plain.settimeout(10)
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            return plain.recv(100).startswith(b"HTTP/")
        except OSError:
            return False


def listening(services: tuple[Service, ...]) -> dict[str, int]:
    """Return the port of every listener that the services told of."""
    ports = {}
    for service in services:
        for line in service.log.splitlines():
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("event") == "listening" and "scheme" in said:
                assert said["scheme"] in {"https", "rtmps"}
                ports[said["name"] + "@" + service.node] = int(said["address"].rpartition(":")[2])
    return ports


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    """The certificate and key that services are told of."""
    own = tmp_path / "own.pem", tmp_path / "own.key"
    for source, target in zip(authority.issue(HOST), own, strict=True):
        shutil.copyfile(source, target)
    return own


@pytest.fixture
def services(
    redis_server: RedisServer,  # noqa: F811
    authority: Authority,
    files: tuple[Path, Path],
) -> Iterator[tuple[Service, ...]]:
    """A chain and a control API with a certificate."""
    tls = {"tls.certificate": str(files[0]), "tls.key": str(files[1]), "relay.ca_file": str(authority.file)}
    nodes = chain(redis_server.url, {"demo": "test:"}, 1, **tls)
    api = Service("control-api", "api-1", {"registry.url": redis_server.url, "control_api.port": "0", **tls})
    with running(*nodes, api) as started:
        nodes[-1].port(1)  # the edge's second listener, after its first
        yield started


@pytest.mark.redis
async def test_every_listener_is_tls_and_nothing_is_plain(services: tuple[Service, ...], authority: Authority) -> None:
    """Ingress, RTMP, intermediate, edge, fMP4 and API show the certificate; nodes find each other and media flows."""
    ports = listening(services)
    names = {"ingress", "rtmp", "intermediate", "edge", "fmp4", "control-api"}
    assert {name.partition("@")[0] for name in ports} == names
    assert len({shown(port, authority.file) for port in ports.values()}) == 1
    assert not [name for name, port in ports.items() if answers_plain(port)]
    trust = ssl.create_default_context(cafile=authority.file)
    async with connect(f"wss://{HOST}:{ports['fmp4@edge-1']}/demo", ssl=trust, max_size=None) as viewer:
        for expected in (b"ftyp", b"moof"):
            message = await viewer.recv()
            assert isinstance(message, bytes)
            assert message[4:8] == expected


@pytest.mark.redis
async def test_new_files_are_shown_to_new_connections_and_running_ones_stay(
    services: tuple[Service, ...], authority: Authority, files: tuple[Path, Path]
) -> None:
    """A new certificate comes without a restart, by itself or on SIGHUP; one without its key changes nothing."""
    edge = next(service for service in services if service.role == "edge")
    port = listening((edge,))["edge@edge-1"]
    plain = listening((edge,))["fmp4@edge-1"]
    first = shown(port, authority.file)
    trust = ssl.create_default_context(cafile=authority.file)
    async with connect(f"wss://{HOST}:{plain}/demo", ssl=trust, max_size=None) as viewer:
        await viewer.recv()
        certificate, key = authority.issue(HOST)
        shutil.copyfile(certificate, files[0])
        await wait_until(lambda: "certificate_not_read" in edge.log)
        assert shown(port, authority.file) == first
        shutil.copyfile(key, files[1])
        edge.signal(signal.SIGHUP)
        await wait_until(lambda: shown(port, authority.file) != first)
        await viewer.recv()
    assert edge.is_running


@pytest.fixture
def broken(authority: Authority, tmp_path: Path) -> dict[str, tuple[str, str, str]]:
    """Wrong pairs of files, and what is said of them."""
    certificate, key = map(str, authority.issue(HOST))
    _, other = map(str, authority.issue("other.example"))
    return {
        "missing": (str(tmp_path / "none.pem"), key, "tls.certificate: "),
        "mismatched": (certificate, other, "is not the key of the certificate in"),
        "swapped": (key, certificate, "holds no certificate (PEM)"),
        "alone": (certificate, "", "certificate and key belong together"),
    }


@pytest.mark.parametrize("fault", ["missing", "mismatched", "swapped", "alone"])
def test_wrong_files_end_with_exit_code_2(broken: dict[str, tuple[str, str, str]], fault: str) -> None:
    """And one sentence that says which file, and why."""
    certificate, key, said = broken[fault]
    environment = {"HEADRACE_TLS__CERTIFICATE": certificate, "HEADRACE_EDGE__PORT": "0", "PATH": "/usr/bin"}
    if key:
        environment["HEADRACE_TLS__KEY"] = key
    command = [sys.executable, "-c", f"from {MODULES['edge']} import main; main()"]
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=MEDIA_SECONDS)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
