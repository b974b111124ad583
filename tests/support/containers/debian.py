"""Installing from Debian what containers need and this machine lacks."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.containers.commands import ContainersUnavailable, run, succeeds

INSTALL_SECONDS = 600.0  # a slow mirror
COMPOSE_SUITE = "trixie"  # the first Debian release whose docker-compose is version 2
PLUGINS = Path("/usr/local/lib/docker/cli-plugins")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def require_root(purpose: str) -> None:
    """Raise `ContainersUnavailable` unless this process may install and start things on a Debian system."""
    if os.geteuid() != 0:
        raise ContainersUnavailable(f"{purpose} needs root")
    if shutil.which("apt-get") is None or not KEYRING.exists():
        raise ContainersUnavailable(f"{purpose} needs Debian's packages, and this is no Debian")


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Say that this machine has no containers when a command fails that they need."""
    try:
        yield
    except subprocess.SubprocessError as error:
        raise ContainersUnavailable(
            "\n".join([f"{purpose} failed: {error}", *getattr(error, "__notes__", ())])
        ) from error


def install(*packages: str, purpose: str) -> None:
    """Install Debian packages and say so; none of them starts a server by itself."""
    require_root(purpose)
    print(f"{purpose}: installing {', '.join(packages)}", flush=True)
    settings = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with needed_for(purpose):
        run(["apt-get", "-qq", "update"], timeout=INSTALL_SECONDS)
        command = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages]
        run(command, timeout=INSTALL_SECONDS, environment=settings)


def mirror() -> str:
    """The address of the Debian archive that this machine's own apt reads."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = [line for line in run(command).splitlines() if line.rstrip("/").endswith("/debian")]
    return archives[0] if archives else "http://deb.debian.org/debian"


def ensure_compose() -> None:
    """Put Compose version 2 where the docker command finds it: a static program out of a newer release's package."""
    if succeeds(["docker", "compose", "version"]):
        return
    purpose = "Docker Compose"
    require_root(purpose)
    print(f"{purpose}: installing docker-compose of Debian {COMPOSE_SUITE} into {PLUGINS}", flush=True)
    with tempfile.TemporaryDirectory() as folder, needed_for(purpose):
        plugin = download_compose(Path(folder))
        PLUGINS.mkdir(parents=True, exist_ok=True)
        shutil.copy2(plugin, PLUGINS / plugin.name)
    run(["docker", "compose", "version"])


def download_compose(folder: Path) -> Path:
    """Fetch and unpack the package with an apt configuration of its own, so that the machine's stays as it is."""
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    source = f"Types: deb\nURIs: {mirror()}\nSuites: {COMPOSE_SUITE}\nComponents: main\nSigned-By: {KEYRING}\n"
    (folder / "sources" / "newer.sources").write_text(source)
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # the temporary folder is root's alone
    }
    apt = ["apt-get", "-qq", *(f"--option={key}={value}" for key, value in options.items())]
    run([*apt, "update"], timeout=INSTALL_SECONDS)
    run([*apt, "download", "docker-compose"], timeout=INSTALL_SECONDS, folder=folder)
    run(["dpkg-deb", "--extract", next(folder.glob("docker-compose_*.deb")), folder])
    return folder / "usr/libexec/docker/cli-plugins/docker-compose"
