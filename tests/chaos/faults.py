"""The faults: what is done, to whom, and how it is undone."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chaos.topology import Topology, pause, resume
from support.services import Service

HOLD_SECONDS = 5.0
"""How long what can be undone lasts: far beyond detection, far within the ring."""

DELAY_SECONDS = 15.0
DELAY_MILLISECONDS = 100.0
LOSS_PERCENT = 2.0


class Kind(enum.Enum):
    """What a fault is done to."""

    RELAY = "relay"
    EDGE = "edge"
    INGRESS = "ingress"
    STORE = "store"
    MIXED = "mixed"


Act = Callable[[Topology, Service], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        choose: returns the process it is done to; for the store, any.
        begin: does it.
        seconds: how long it lasts.
        end: undoes it.
        packets: it needs namespaces.
        must_hold: nothing may be lost or come twice.
        quick: it is one of those that `make chaos-quick` does.
        single: one of those that random faults are drawn from.
        restarts_all: every node's counters begin anew, so that moves cannot be counted.
    """

    name: str
    kind: Kind
    text: str
    choose: Callable[[Topology], Service]
    begin: Act
    seconds: float
    end: Act
    packets: bool = False
    must_hold: bool = True
    quick: bool = False
    single: bool = True
    restarts_all: bool = False


# -- to whom ----------------------------------------------------------------------------------------


def upper(topology: Topology) -> Service:
    """Return the busiest intermediate next to the ingress."""
    return topology.busiest(topology.layer(1))


def lower(topology: Topology) -> Service:
    """Return the busiest intermediate next to the edges."""
    return topology.busiest(topology.layer(len(topology.shape.layers)))


def edge(topology: Topology) -> Service:
    """Return the edge with most viewers."""
    return topology.busiest(topology.of_role("edge"))


def ingress(topology: Topology) -> Service:
    """Return the ingress that has the source."""
    return topology.busiest(topology.of_role("ingress"))


# -- what -------------------------------------------------------------------------------------------


def kill(topology: Topology, service: Service) -> None:
    """End it without a word."""
    service.kill()


def start(topology: Topology, service: Service) -> None:
    """Start it again."""
    service.start()


def stand_still(topology: Topology, service: Service) -> None:
    """Stop its process: connections stay open."""
    pause(service)


def go_on(topology: Topology, service: Service) -> None:
    """Undo `stand_still`."""
    resume(service)


def terminate(topology: Topology, service: Service) -> None:
    """Ask it to end and wait until it has."""
    status = service.stop()
    assert status == 0, f"{service.node} ended with {status}"


def drop(topology: Topology, service: Service) -> None:
    """Drop its packets without a word."""
    topology.network.drop(service.node)


def unplug(topology: Topology, service: Service) -> None:
    """Take out its cable."""
    topology.network.unplug(service.node)


def delay(topology: Topology, service: Service) -> None:
    """Delay what it sends, lose some of it and of what it receives."""
    topology.network.delay(service.node, DELAY_MILLISECONDS, LOSS_PERCENT)


def heal(topology: Topology, service: Service) -> None:
    """Undo all of these."""
    topology.network.heal(service.node)


def kill_without_store(topology: Topology, service: Service) -> None:
    """End the store, and a little later the process: another parent must be found by what is known."""
    topology.store.kill()
    wait(1.0)
    service.kill()


def start_with_store(topology: Topology, service: Service) -> None:
    """Undo `kill_without_store`."""
    topology.store.start()
    service.start()


def nothing(topology: Topology, service: Service) -> None:
    """Do nothing."""


def restart_all(topology: Topology, service: Service) -> None:
    """Restart every intermediate and edge, one at a time, as an upgrade does."""
    for member in [*topology.of_role("intermediate"), *topology.of_role("edge")]:
        terminate(topology, member)
        member.start()
        topology.wait_until_well()


def _of_process(who: str, kind: Kind, choose: Callable[[Topology], Service], quick: Iterable[str]) -> list[Fault]:
    slow = f"{DELAY_MILLISECONDS:.0f} ms, {LOSS_PERCENT:.0f} % loss, for {DELAY_SECONDS:.0f} s"
    acts: list[tuple[str, str, Act, float, Act, bool]] = [
        ("kill", "SIGKILL, started again after 2 s", kill, 2.0, start, False),
        ("stop", f"SIGSTOP for {HOLD_SECONDS:.0f} s", stand_still, HOLD_SECONDS, go_on, False),
        ("terminate", "SIGTERM, started again after 1 s", terminate, 1.0, start, False),
        ("drop", f"packets dropped without RST for {HOLD_SECONDS:.0f} s", drop, HOLD_SECONDS, heal, True),
        ("unplug", f"network cable out for {HOLD_SECONDS:.0f} s", unplug, HOLD_SECONDS, heal, True),
        ("delay", slow, delay, DELAY_SECONDS, heal, True),
    ]
    return [
        Fault(f"{who}-{name}", kind, text, choose, begin, seconds, end, packets, quick=name in quick)
        for name, text, begin, seconds, end, packets in acts
    ]


FAULTS: tuple[Fault, ...] = (
    *_of_process("upper", Kind.RELAY, upper, ("kill",)),
    *_of_process("lower", Kind.RELAY, lower, ("kill", "stop", "drop")),
    *_of_process("edge", Kind.EDGE, edge, ("kill", "drop")),
    Fault(
        "store-kill",
        Kind.STORE,
        "killed, started again empty after 5 s",
        ingress,
        lambda topology, _: topology.store.kill(),
        HOLD_SECONDS,
        lambda topology, _: topology.store.start(),
        quick=True,
    ),
    Fault(
        "store-flush",
        Kind.STORE,
        "FLUSHALL",
        ingress,
        lambda topology, _: _flush(topology),
        HOLD_SECONDS,
        nothing,
    ),
    Fault(
        "store-pause",
        Kind.STORE,
        "stands still for 5 s",
        ingress,
        lambda topology, _: topology.store.pause(),
        HOLD_SECONDS,
        lambda topology, _: topology.store.resume(),
    ),
    Fault(
        "store-drop",
        Kind.STORE,
        "its packets dropped for 5 s",
        ingress,
        lambda topology, _: topology.network.drop("store"),
        HOLD_SECONDS,
        lambda topology, _: topology.network.heal("store"),
        packets=True,
    ),
    Fault(
        "ingress-kill",
        Kind.INGRESS,
        "SIGKILL, started again after 2 s",
        ingress,
        kill,
        2.0,
        start,
        must_hold=False,
        quick=True,
        single=False,
    ),
    Fault(
        "lower-kill-alone",
        Kind.MIXED,
        "SIGKILL while the store is away, both started again after 5 s",
        lower,
        kill_without_store,
        HOLD_SECONDS,
        start_with_store,
        quick=True,
        single=False,
    ),
    Fault(
        "rolling-restart",
        Kind.MIXED,
        "every intermediate and edge, one at a time",
        ingress,
        restart_all,
        0.0,
        nothing,
        single=False,
        restarts_all=True,
    ),
)


def _flush(topology: Topology) -> None:
    answer = topology.store.command("FLUSHALL")
    assert answer.startswith(b"+OK"), answer


def wait(seconds: float) -> None:
    """Let a fault last."""
    time.sleep(seconds)
