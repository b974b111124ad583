"""Where the processes of a topology live: on loopback, or each in a network namespace of its own on a bridge.

The namespaces exist only inside the harness's own namespace (`isolate`): they end with it, however it ends, and no
address of the machine's own networks is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.testing import free_port

NETWORK = "198.18.77"
"""First bytes of the addresses: from the block for benchmarks of devices (RFC 2544), routed nowhere."""

INSIDE = "CHAOS_INSIDE"
"""Set in the environment of the harness that runs in its own namespace."""

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
TOOLS = ("unshare", "nsenter", "ip", "iptables")
QUEUE = 7


class Impossible(Exception):
    """A fault that cannot be made on this network; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process lives.

    Attributes:
        host: the address it listens on.
        prefix: what its command begins with.
    """

    name: str
    host: str
    prefix: tuple[str, ...] = ()

    def port(self, usual: int) -> int:
        """Return a port that stays the same when the process is started again."""
        return usual if self.prefix else free_port()


class Network(Protocol):
    """Makes places and disturbs them."""

    isolated: bool

    def place(self, name: str) -> Place: ...

    def drop(self, name: str) -> None:
        """Drop all packets from and to a place, without a word to either side."""

    def unplug(self, name: str) -> None:
        """Take the cable out."""

    def delay(self, name: str, milliseconds: float, loss_percent: float) -> None:
        """Hold back what the place sends, and lose some of what it sends and receives."""

    def heal(self, name: str) -> None:
        """Undo everything."""


class Loopback:
    """One address for all: processes can be killed and stopped, packets cannot be touched."""

    isolated = False

    def place(self, name: str) -> Place:
        return Place(name, "127.0.0.1")

    def drop(self, name: str) -> None:
        raise Impossible("needs network namespaces")

    unplug = drop

    def delay(self, name: str, milliseconds: float, loss_percent: float) -> None:
        raise Impossible("needs network namespaces")

    def heal(self, name: str) -> None:
        """Nothing was done."""


class Namespaces:
    """One network namespace for each place, on a bridge in ours."""

    isolated = True

    def __init__(self) -> None:
        self._delays: dict[str, subprocess.Popen[bytes]] = {}
        self._places = 0
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "chaos", "type", "bridge")
        run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "chaos")
        run("ip", "link", "set", "chaos", "up")

    def place(self, name: str) -> Place:
        """Make a namespace with an address of its own."""
        self._places += 1
        address, cable = f"{NETWORK}.{9 + self._places}", _cable(name)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", cable, "master", "chaos", "up")
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", device, "up")
        return Place(name, address, _inside(name))

    def drop(self, name: str) -> None:
        run(*_inside(name), "iptables", "-A", "INPUT", "!", "-i", "lo", "-j", "DROP")
        run(*_inside(name), "iptables", "-A", "OUTPUT", "!", "-o", "lo", "-j", "DROP")

    def unplug(self, name: str) -> None:
        run("ip", "link", "set", _cable(name), "down")

    def delay(self, name: str, milliseconds: float, loss_percent: float) -> None:
        program = [*_inside(name), sys.executable, "-m", "chaos.delay", str(QUEUE), str(milliseconds)]
        delaying = subprocess.Popen([*program, str(loss_percent)], stdout=subprocess.PIPE)
        assert delaying.stdout is not None
        assert delaying.stdout.readline(), "the delay did not begin"
        self._delays[name] = delaying
        share = ("-m", "statistic", "--mode", "random", "--probability", str(loss_percent / 100))
        run(*_inside(name), "iptables", "-A", "INPUT", "!", "-i", "lo", *share, "-j", "DROP")
        queue = ("-j", "NFQUEUE", "--queue-num", str(QUEUE), "--queue-bypass")
        run(*_inside(name), "iptables", "-A", "OUTPUT", "!", "-o", "lo", *queue)

    def heal(self, name: str) -> None:
        run(*_inside(name), "iptables", "-F")
        run("ip", "link", "set", _cable(name), "up")
        if (delaying := self._delays.pop(name, None)) is not None:
            delaying.terminate()
            delaying.wait()


def isolate(arguments: list[str]) -> str:
    """Run the harness again in namespaces of its own and do not return; or return why that cannot be."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "not root"
    trial = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True, text=True)
    if trial.returncode:
        return f"namespaces are not allowed here: {trial.stderr.strip()}"
    command = [*UNSHARE, sys.executable, "-m", "chaos", *arguments]
    os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})


def run(*command: str) -> None:
    """Run a program and raise with its own words when it fails."""
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")


def _inside(name: str) -> tuple[str, ...]:
    return ("nsenter", f"--net=/run/netns/{name}")


def _cable(name: str) -> str:
    return f"c-{name}"[:15]
