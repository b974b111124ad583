"""Nodes whose relay URL is `wss://`: verified by authority and by name before a word is said."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.errors import ConfigurationError
from headrace.service.groups import RelaySettings
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from integration.relay.mesh import FAST, Mesh, MeshNode, Viewer, assert_complete, mesh
from support.certificates import Authority


def trusting(authority: Authority) -> RelayOptions:
    """Return the options of a node that is configured with this authority."""
    options = RelayOptions.of(RelaySettings(secret=SecretStr("correct horse"), ca_file=authority.file))
    return replace(FAST, own=options.own, accepted=options.accepted, tls=options.tls)


async def pair(m: Mesh, tls: ssl.SSLContext, options: RelayOptions) -> tuple[MeshNode, MeshNode]:
    """Return an ingress that serves `wss://localhost` and an edge that dials it."""
    ingress = await m.add("in", "ingress", options=options, tls=tls)
    return ingress, await m.add("edge", "edge", options=options)


async def test_a_certificate_of_the_authority_and_the_name_links(tmp_path: Path) -> None:
    """Media flows over TLS as it does without."""
    authority = Authority(tmp_path)
    async with mesh() as m:
        ingress, edge = await pair(m, authority.serving("localhost"), trusting(authority))
        source = ingress.produce()
        m.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert ingress.node.record.relay_url.startswith("wss://")
        assert_complete(source, viewer)


@pytest.mark.parametrize(
    ("signed_by", "host", "says"),
    [
        ("other", "localhost", "unable to get local issuer certificate"),
        ("trusted", "elsewhere.example", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
async def test_another_certificate_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], signed_by: str, host: str, says: str
) -> None:
    """Of another authority, or for another name: one clear line, a metric, and nothing of the secret was said."""
    authorities = {name: Authority(tmp_path, name) for name in ("trusted", "other")}
    async with mesh() as m:
        ingress, edge = await pair(m, authorities[signed_by].serving(host), trusting(authorities["trusted"]))
        ingress.produce()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: edge.metric("headrace_relay_dials_failed_total", reason="certificate") >= 2)
        assert viewer.chunks == []
        assert not ingress.node.links.all
    said = capsys.readouterr().out
    assert re.sub(" +", " ", said).count("[warning ] link_failed") == 1
    assert f"is not good: {says}" in said
    assert "horse" not in said


async def test_without_an_authority_of_its_own_a_node_trusts_those_of_the_system(tmp_path: Path) -> None:
    """Which do not know the one of this test."""
    options = replace(trusting(Authority(tmp_path)), tls=None)
    async with mesh() as m:
        ingress, edge = await pair(m, Authority(tmp_path, "unknown").serving("localhost"), options)
        ingress.produce()
        Viewer(edge.hub)
        await wait_until(lambda: edge.metric("headrace_relay_dials_failed_total", reason="certificate") >= 1)


def test_authorities_that_cannot_be_read_are_a_wrong_configuration(tmp_path: Path) -> None:
    """The setting and the file are named."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (empty, tmp_path / "none.pem"):
        with pytest.raises(ConfigurationError, match=rf"^relay\.ca_file: {file}: "):
            RelayOptions.of(RelaySettings(ca_file=file))
