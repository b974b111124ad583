"""Credentials on real sockets: scopes that hold, keys that change while media flows, and who only has the old one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.identifiers import StreamName
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from integration.relay.mesh import FAST, MeshNode, Viewer, assert_complete, mesh

GATE = StreamName("site7/gate")
ELSEWHERE = StreamName("site8/gate")

Key = Mapping[str, Sequence[str]]
EVERYTHING: Key = {}
SITE: Key = {"roles": ["ingress"], "offer": ["site7/*"], "subscribe": []}


class Keys:
    """Makes and changes files of credentials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, str] = {}

    def write(self, name: str, own: str, **keys: Key) -> Path:
        """Write the file `name` at one stroke; a key has the same secret in every file."""
        lines = [f'own = "{own}"']
        for key, rights in keys.items():
            secret = self.secrets.setdefault(key, secrets.token_hex(16))
            lines += [f"[keys.{key}]", f'secret = "{secret}"']
            lines += [f"{name} = {list(patterns)!r}" for name, patterns in rights.items()]
        new = self.folder / "new"
        new.write_text("\n".join(lines))
        return new.replace(self.folder / name)

    def options(self, name: str, own: str, **keys: Key) -> RelayOptions:
        """Return the options of a node with such a file."""
        return replace(FAST, credentials_file=self.write(name, own, **keys))

    def assert_not_in(self, text: str) -> None:
        """No secret was said."""
        assert not [key for key, secret in self.secrets.items() if secret in text]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def dialled_keys(node: MeshNode) -> set[str]:
    """Return the keys that the peers of a node's open links proved."""
    credentials = (link._connection.peer_credential for link in node.node.links.open_links)
    return {credential.key for credential in credentials if credential is not None}


async def test_a_site_with_its_own_key_alone_is_seen_at_the_centre(keys: Keys) -> None:
    """The centre proves that it knows the site's key; the site needs to know no other."""
    async with mesh() as m:
        site = await m.add("site", "ingress", options=keys.options("site", "site7", site7=SITE))
        centre = keys.options("centre", "core", core=EVERYTHING, site7=SITE)
        await m.add("mid", layer=1, options=centre)
        edge = await m.add("edge", "edge", options=centre)
        source = site.produce(GATE)
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub, GATE)
        await wait_until(lambda: len(viewer.chunks) > 50)
        assert_complete(source, viewer)


async def test_a_stream_outside_the_scope_is_not_fetched(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """Though the store says that the site has it: one log line for whoever looks, and a metric; its own goes on."""
    async with mesh() as m:
        site = await m.add("site", "ingress", options=keys.options("site", "site7", site7=SITE))
        edge = await m.add("edge", "edge", options=keys.options("centre", "core", core=EVERYTHING, site7=SITE))
        for stream in (GATE, ELSEWHERE):
            m.run(site.produce(stream))
        await m.settled()
        good, stolen = Viewer(edge.hub, GATE), Viewer(edge.hub, ELSEWHERE)
        await wait_until(lambda: edge.metric("headrace_relay_refused_total", reason="deliver") >= 1)
        await wait_until(lambda: len(good.chunks) > 50)
        assert stolen.chunks == []
    said = capsys.readouterr().out
    assert said.count("stream_forbidden") == 1
    assert "site8/gate" in said
    keys.assert_not_in(said)


async def test_a_child_gets_no_stream_outside_its_scope(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """The parent refuses, says so once and counts it."""
    guest: Key = {"offer": [], "subscribe": ["public/*"]}
    async with mesh() as m:
        ingress = await m.add("in", "ingress", options=keys.options("in", "core", core=EVERYTHING, guest=guest))
        edge = await m.add("edge", "edge", options=keys.options("edge", "guest", guest=guest, core=EVERYTHING))
        for stream in ("public/hall", "private/vault"):
            m.run(ingress.produce(StreamName(stream)))
        await m.settled()
        hall, vault = Viewer(edge.hub, StreamName("public/hall")), Viewer(edge.hub, StreamName("private/vault"))
        await wait_until(lambda: ingress.metric("headrace_relay_refused_total", reason="subscribe") >= 1)
        await wait_until(lambda: len(hall.chunks) > 50)
        assert vault.chunks == []
    assert capsys.readouterr().out.count("stream_forbidden") == 1


async def test_keys_are_rotated_while_media_flows(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """Add the new key everywhere, use it everywhere, remove the old one: no chunk is lost, no node is restarted."""
    async with mesh() as m:
        nodes = []
        for name, role in (("in", "ingress"), ("mid", "intermediate"), ("edge", "edge")):
            nodes.append(await m.add(name, role, options=keys.options(name, "old", old=EVERYTHING)))
        source = nodes[0].produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(nodes[2].hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        for own, listed in (("old", ("old", "new")), ("new", ("old", "new")), ("new", ("new",))):
            await wait_until(lambda: all(dialled_keys(node) == {"old"} for node in nodes))
            for node in nodes:
                keys.write(node.id, own, **dict.fromkeys(listed, EVERYTHING))
            for node in nodes:
                node.node.refresh_credentials()
        await wait_until(lambda: all(dialled_keys(node) == {"new"} for node in nodes))
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 50)
        assert_complete(source, viewer)
        assert all(node.node.problem is None for node in nodes)
        assert sum(n.metric("headrace_relay_links_ended_total", reason="key_changed") for n in nodes) >= 2
    keys.assert_not_in(capsys.readouterr().out)


async def test_who_only_has_a_removed_key_is_out_within_seconds(keys: Keys) -> None:
    """Its link ends without anybody asking, since files are looked at; and it cannot come back."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress", options=keys.options("in", "core", core=EVERYTHING, lent=EVERYTHING))
        edge = await m.add("edge", "edge", options=keys.options("edge", "lent", lent=EVERYTHING))
        m.run(ingress.produce())
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        keys.write("in", "core", core=EVERYTHING)
        await wait_until(lambda: edge.metric("headrace_relay_dials_failed_total", reason="bad_proof") >= 1)
        assert ingress.metric("headrace_relay_links_ended_total", reason="key_changed") >= 1
        assert not ingress.node.links.open_links


async def test_a_bad_file_changes_nothing_but_ready(keys: Keys) -> None:
    """What plays goes on; `/health/ready` and a log line say what is wrong, without the secret."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress", options=keys.options("in", "core", core=EVERYTHING))
        edge = await m.add("edge", "edge", options=keys.options("edge", "core", core=EVERYTHING))
        m.run(ingress.produce())
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        (keys.folder / "edge").write_text(f'own = "core"\n[keys.core]\nsecret = "{keys.secrets["core"]}" oops')
        await wait_until(lambda: edge.node.problem is not None)
        assert str(edge.node.problem).startswith("relay.credentials_file: this is no TOML")
        keys.assert_not_in(str(edge.node.problem))
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 50)
        keys.write("edge", "core", core=EVERYTHING)
        await wait_until(lambda: edge.node.problem is None)


async def test_a_file_that_cannot_be_used_at_the_start_is_a_wrong_configuration(tmp_path: Path) -> None:
    """The setting is named."""
    async with mesh() as m:
        with pytest.raises(ConfigurationError, match=r"^relay\.credentials_file: "):
            await m.add("mid", options=replace(FAST, credentials_file=tmp_path / "none"))
