"""Other servers at the fan-out: what a delivered byte costs them, beside the ceiling and ours in the same run.

Each server sends the same amounts at the same moments to a thousand viewers: those that fan out messages get the very
sizes of ours; those that take media get a picture of the same rate and bytes, pushed by ffmpeg, whose frames are as
large as our chunks, so that a server that sends frame by frame sends what ours does. One server after the other has the
viewers, in each round; the figure is the median over rounds of the other's CPU for a delivered byte over ours.

Servers that are not here are named as absent. They are looked for in `$BENCH_PEERS` (folders, as in PATH), then PATH:

    go2rtc, mediamtx, srs            the programs
    nginx, ngx_rtmp_module.so        the module also where Debian installs it
    node_modules/ws                  Node's, also where the tests of the players have it

    PYTHONPATH=tests python tests/bench/peers.py --json build/peers.json [--quick] [NAME...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.building import NoCompiler
from bench.fan_out import GRANULARITIES, WARM_SECONDS, Trial, watch
from bench.fan_out_parts import Load, Server, Viewers, ceiling, memory_kib, product
from bench.peer_servers import PEERS, Absent, Peer

VIEWERS = 1000

ROUNDS, QUICK_ROUNDS = 5, 3
SECONDS = 2.0

DELIVERED_LEAST = 0.95
"""A trial in which a smaller part of the bytes arrives counts for nothing, unless all of a server's are such: an
encoder does not hit a rate exactly."""


def compare(name: str, load: Load, peers: Sequence[Peer], rounds: int) -> list[dict[str, Any]]:
    """Measure ours, the ceiling and all peers that are here at one granularity; return a row for each."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(ceiling(load)), stack.enter_context(product(load))]
        for peer in peers:
            try:
                servers.append(stack.enter_context(peer.run(load)))
            except Absent as absent:
                rows.append({"name": row_name(name, peer.name), "absent": str(absent)})
        found, kib = measure(servers, load, rounds)
    about = {peer.name: peer.sends for peer in peers}
    for server in servers[1:]:
        row = summary(server, found, load)
        row["rss_mib"] = round(kib[server.name] / 1024, 1)
        rows.append({"name": row_name(name, server.name), "sends": about.get(server.name, "fMP4 by WebSocket"), **row})
    return rows


def row_name(name: str, server: str) -> str:
    return f"peers {name}, {VIEWERS:,} viewers: {server}"


def measure(servers: Sequence[Server], load: Load, rounds: int) -> tuple[dict[str, list[Trial]], dict[str, int]]:
    """Let each server have the viewers in each round; return its trials, and its memory with viewers in KiB."""
    found: dict[str, list[Trial]] = {server.name: [] for server in servers}
    kib = dict.fromkeys(found, 0)
    for number in range(rounds):
        for server in servers if number % 2 else reversed(servers):
            with Viewers(server, load) as crowd:
                time.sleep(WARM_SECONDS)
                found[server.name] += watch([server], [crowd], load, SECONDS)
                print(f"{server.name}: {found[server.name][-1]}", file=sys.stderr, flush=True)
                kib[server.name] = max(kib[server.name], memory_kib(server.pid))
    return found, kib


def summary(server: Server, found: dict[str, list[Trial]], load: Load) -> dict[str, Any]:
    """Return the figures of one server beside the ceiling's and ours, round by round."""
    due = load.rate * sum(load.payloads) * load.viewers
    parts = [trial.bytes / (due * trial.seconds) for trial in found[server.name]]
    together = zip(found["ceiling"], found["headrace"], found[server.name], parts, strict=True)
    every = [((least, ours, theirs), part) for least, ours, theirs, part in together]
    rounds = [three for three, part in every if part >= DELIVERED_LEAST] or [three for three, _ in every]
    told: dict[str, Any] = {
        "viewers": load.viewers,
        "streams": 1,
        "messages_per_s": load.rate,
        "message_bytes": load.video,
        "delivered": round(min(1.0, statistics.median(parts)), 3),
        "void": sum(part < DELIVERED_LEAST for part in parts),
        "load_average": round(os.getloadavg()[0], 1),
    }
    cheaper = [theirs.per_gib / ours.per_gib for _, ours, theirs in rounds]
    least = min(theirs.per_gib for _, _, theirs in rounds) / min(ours.per_gib for _, ours, _ in rounds)
    return {
        **told,
        "cpu_s_per_gib": round(statistics.median(theirs.per_gib for _, _, theirs in rounds), 4),
        "ours_cpu_s_per_gib": round(statistics.median(ours.per_gib for _, ours, _ in rounds), 4),
        "ratio_to_ceiling": round(statistics.median(c.per_gib / theirs.per_gib for c, _, theirs in rounds), 3),
        "ours_times_cheaper": round(statistics.median(cheaper), 2),
        "ours_times_cheaper_by_minima": round(least, 2),
        "rounds": [round(times, 2) for times in cheaper],
        "megabytes_per_viewer_s": round(
            statistics.median(t.bytes / t.seconds for _, _, t in rounds) / load.viewers / 1e6, 3
        ),
        "load_cpu": round(max(trial.load_cpu for trial in found[server.name]), 2),
    }


def main() -> None:
    """Measure what was asked for, print the rows and write them where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, the default granularity only")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {'; '.join(GRANULARITIES)}")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.names or (["10/s x 25 KiB"] if given.quick else list(GRANULARITIES)):
        rate, size = GRANULARITIES[name]
        peers = [peer for peer in PEERS if name in peer.at]
        try:
            rows += compare(name, Load(rate, size, VIEWERS), peers, QUICK_ROUNDS if given.quick else ROUNDS)
        except NoCompiler as error:
            rows.append({"name": f"peers {name}", "absent": str(error)})
        if given.json:
            given.json.write_text(json.dumps(rows) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
