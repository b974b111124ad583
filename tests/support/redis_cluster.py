"""Several real Redis servers that look after each other: a master with Sentinels, and a cluster. On loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from headrace.testing import free_port
from support.redis_server import RedisServer, redis_programs

SERVICE = "headrace-test"
DOWN_MILLISECONDS = 500
SENTINELS = 3


def has_redis() -> bool:
    """Return whether Redis itself, with its command line, is installed."""
    return "redis-server" in redis_programs() and shutil.which("redis-cli") is not None


class Sentinels:
    """A master, a replica, and three Sentinels that fail over after `DOWN_MILLISECONDS`.

    Attributes:
        master, replica: the servers as they began.
        url: what the registry connects to.
    """

    def __init__(self, folder: Path) -> None:
        program = redis_programs()["redis-server"]
        self.master = RedisServer(program)
        self.master.start()
        follows = ("--replicaof", "127.0.0.1", str(self.master.port), "--repl-diskless-sync-delay", "0")
        self.replica = RedisServer(program, arguments=follows)
        self.replica.start()
        self._folder = folder
        self._program = program
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports = [free_port() for _ in range(SENTINELS)]
        for port in self._ports:
            self._start_sentinel(port)
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{SERVICE}"

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.replica.close()
        self.master.close()

    def ready(self) -> bool:
        """Return whether the replica follows and every Sentinel knows it and the others."""
        if b"master_link_status:up" not in self.replica.command("INFO", "replication"):
            return False
        return all(f"slaves=1,sentinels={SENTINELS}" in self._ask(port, "INFO", "sentinel") for port in self._ports)

    def _ask(self, port: int, *words: str) -> str:
        done = subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, check=False, timeout=5)
        return done.stdout.decode(errors="replace")

    def _start_sentinel(self, port: int) -> None:
        own = self._folder / f"sentinel-{port}"
        own.mkdir()
        configuration = own / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {own}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MILLISECONDS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        with (own / "log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [self._program, str(configuration), "--sentinel"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )


class Cluster:
    """Three masters of a Redis Cluster.

    Attributes:
        servers: all of them.
        url: what the registry connects to.
    """

    def __init__(self) -> None:
        program = redis_programs()["redis-server"]
        # The bus listens 10,000 above; ports beyond 55535 have none, so they are given one of their own.
        self.servers = [
            RedisServer(program, arguments=("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
            for _ in range(3)
        ]
        for server in self.servers:
            server.start()
        hosts = [f"127.0.0.1:{server.port}" for server in self.servers]
        self.url = f"redis+cluster://{','.join(hosts)}"
        subprocess.run(
            ["redis-cli", "--cluster", "create", *hosts, "--cluster-yes"], check=True, capture_output=True, timeout=60
        )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for server in self.servers:
            server.close()

    def ready(self) -> bool:
        """Return whether all servers agree on who has what."""
        return all(b"cluster_state:ok" in server.command("CLUSTER", "INFO") for server in self.servers)
