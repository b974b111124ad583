"""The Docker engine: the one that answers, or one started for the length of a test run."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.containers.commands import ContainersUnavailable, run, succeeds
from support.containers.debian import install, require_root

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2
LOG = Path(__file__).parents[3] / "build/containers/dockerd.log"
SOCKET = Path("/var/run/docker.sock")
PID_FILES = {Path("/var/run/docker.pid"): "dockerd", Path("/var/run/docker/containerd/containerd.pid"): "containerd"}


def answers() -> bool:
    """Whether an engine answers the docker command here."""
    return succeeds(["docker", "info"])


@contextmanager
def engine(*, keep: bool = False) -> Iterator[None]:
    """Have an engine. One that had to be started is stopped at the end, unless it is to be kept or runs containers.

    Raise `ContainersUnavailable` where none answers and none can be started.
    """
    daemon = None if answers() else start()
    try:
        yield
    finally:
        if daemon is not None and not keep and not run(["docker", "ps", "--quiet"]).strip():
            stop(daemon)


def start() -> subprocess.Popen[bytes]:
    """Start an engine and wait until it answers."""
    purpose = "no Docker engine answers; starting one"
    require_root(purpose)
    if Path("/run/systemd/system").exists():
        raise ContainersUnavailable(
            "no Docker engine answers; this machine's systemd starts it: systemctl start docker"
        )
    if shutil.which("dockerd") is None:
        install("docker.io", "iptables", "cgroupfs-mount", purpose=purpose)
    forget_dead_engine()
    if not os.path.ismount("/sys/fs/cgroup") and shutil.which("cgroupfs-mount"):
        run(["cgroupfs-mount"])
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("ab") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--host", f"unix://{SOCKET}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests, which still need the engine to clean up
        )
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if daemon.poll() is not None or time.monotonic() > deadline:
            stop(daemon)
            raise ContainersUnavailable(f"the Docker engine did not start; {LOG} says why")
        time.sleep(POLL_SECONDS)
    return daemon


def stop(daemon: subprocess.Popen[bytes]) -> None:
    """Stop an engine that `start` started."""
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(STOP_SECONDS)


def forget_dead_engine() -> None:
    """Remove what a killed engine left: a pid file whose number is another program's by now keeps dockerd down."""
    for file, program in PID_FILES.items():
        if file.exists() and program_of(file.read_text().strip()) != program:
            file.unlink()
    SOCKET.unlink(missing_ok=True)


def program_of(pid: str) -> str | None:
    """The name of a running process."""
    try:
        return Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return None
