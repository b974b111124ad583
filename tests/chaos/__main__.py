"""Do faults to a running topology and tell what viewers noticed.

    make chaos          every fault, some random ones, and the table in docs/chaos.md
    make chaos-quick    one of each kind, in under five minutes
    make soak           random faults for an hour, with the memory of every process

Faults that need packets dropped or delayed are done in network namespaces that the harness makes for itself, which
takes root; elsewhere they are left out by name, and in continuous integration (CI is set) that is an error. The exit
code is 1 when a chunk was lost or came twice, or a viewer was left behind, by anything but the death of an ingress.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from chaos import report
from chaos.faults import FAULTS, Fault
from chaos.measuring import Row, inflict, watch
from chaos.network import INSIDE, Loopback, Namespaces, Network, isolate
from chaos.random_faults import in_a_row
from chaos.soak import SHAPE, soak
from chaos.topology import Shape, Topology, running

LOGS = Path("build/chaos-logs")
QUIET_SECONDS = 5.0


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    network, skipped = _network(sys.argv[1:], arguments.loopback)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    _keep_logs()
    faults = _chosen(arguments, network.isolated)
    shape = SHAPE if arguments.soak is not None else Shape(viewers=arguments.viewers)
    with running(network, shape) as topology:
        print(f"{len(topology.services)} processes and {shape.viewers} viewers are well", flush=True)
        if arguments.soak is not None:
            return soak(topology, faults, arguments.soak, arguments.seed)
        return _run(topology, faults, arguments, skipped)


def _run(topology: Topology, faults: list[Fault], arguments: argparse.Namespace, skipped: list[str]) -> int:
    began = time.monotonic()
    rows: list[Row] = []
    loads = [os.getloadavg()[0]]
    quiet = watch(topology, QUIET_SECONDS)
    print(report.line(quiet), flush=True)
    for fault in faults:
        rows.append(inflict(topology, fault))
        loads.append(os.getloadavg()[0])
        print(report.line(rows[-1]), flush=True)
        if rows[-1].problem:
            break  # nothing that follows would say anything
    else:
        if arguments.random:
            rows.append(in_a_row(topology, _available(topology), arguments.random, arguments.seed))
            print(report.line(rows[-1]), flush=True)
    seconds = time.monotonic() - began
    print("\n" + report.table([quiet, *rows]))
    for name in skipped:
        print(f"skipped: {name}")
    report.write_json(rows, quiet, seed=arguments.seed, seconds=round(seconds), skipped=skipped)
    if arguments.write_page:
        report.write_page(rows, quiet, _what_ran(arguments, seconds, skipped, loads))
    failed = [row for row in rows if row.must_hold and not row.holds]
    for row in failed:
        print(
            f"FAILED: {row.name}: lost {row.lost}, twice {row.duplicated}, left behind {row.left_behind} {row.problem}"
        )
    print(f"{len(rows)} rows in {seconds:.0f} s, written to {report.RESULT}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__, formatter_class=_Formatter)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"any of {', '.join(fault.name for fault in FAULTS)}")
    parser.add_argument("--quick", action="store_true", help="one fault of each kind")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="then so many random faults in a row")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random faults")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="random faults for so long, with memory")
    parser.add_argument("--viewers", type=int, default=30)
    parser.add_argument("--loopback", action="store_true", help="no namespaces")
    parser.add_argument("--write-page", action="store_true", help=f"write the table into {report.PAGE}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {fault.name for fault in FAULTS}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    return arguments


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


def _network(arguments: list[str], loopback: bool) -> tuple[Network, list[str]]:
    """Return the network, and what cannot be done on it."""
    if os.environ.get(INSIDE):
        return Namespaces(), []
    why = "--loopback" if loopback else isolate(arguments)
    skipped = [f"{fault.name} ({why})" for fault in FAULTS if fault.packets]
    if os.environ.get("CI") and not loopback:
        sys.exit(f"these faults cannot be made here: {', '.join(skipped)}")
    return Loopback(), skipped


def _chosen(arguments: argparse.Namespace, isolated: bool) -> list[Fault]:
    chosen = [
        fault
        for fault in FAULTS
        if (fault.name in arguments.names if arguments.names else fault.quick or not arguments.quick)
    ]
    return [fault for fault in chosen if isolated or not fault.packets]


def _available(topology: Topology) -> list[Fault]:
    return [fault for fault in FAULTS if fault.single and (topology.network.isolated or not fault.packets)]


def _keep_logs() -> None:
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    tempfile.tempdir = str(LOGS.absolute())
    os.environ["KEEP_LOGS"] = "1"


def _what_ran(arguments: argparse.Namespace, seconds: float, skipped: list[str], loads: list[float]) -> str:
    machine = report.machine()
    load = f"load average from {min(loads):.0f} to {max(loads):.0f}"
    left_out = f" Left out: {', '.join(skipped)}." if skipped else ""
    return (
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, {load}; "
        f"{arguments.viewers} viewers, {seconds:.0f} s, seed {arguments.seed}.{left_out}"
    )


if __name__ == "__main__":
    sys.exit(main())
