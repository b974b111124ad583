"""One Compose project: built, up, looked at, down, and seen to be gone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.containers.commands import run

BUILD_SECONDS = 900.0  # base images and wheels come over the network
UP_SECONDS = 180.0
DOWN_SECONDS = 180.0
KINDS = {"container": ("ps", "--all"), "network": ("network", "ls"), "volume": ("volume", "ls")}


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """A project of the given name; `environment` fills the variables of its file and of those laid over it."""

    file: Path
    name: str
    environment: Mapping[str, str]
    overlays: Sequence[Path] = ()

    def run(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a Compose command and return what it printed."""
        compose = ["docker", "compose", "--ansi", "never", "--project-name", self.name]
        files = [word for file in (self.file, *self.overlays) for word in ("--file", str(file))]
        return run([*compose, *files, *arguments], timeout=timeout, environment=self.environment)

    def build(self) -> None:
        self.run("build", "--quiet", timeout=BUILD_SECONDS)

    def up(self) -> None:
        """Start everything in the background and wait until every health check is content."""
        wait = ("--wait", "--wait-timeout", f"{UP_SECONDS:.0f}")
        self.run("up", "--detach", "--no-build", *wait, timeout=2 * UP_SECONDS)

    def down(self) -> None:
        """Stop and remove everything that belongs to the project."""
        self.run("down", "--volumes", "--remove-orphans", timeout=DOWN_SECONDS)

    def logs(self, lines: int = 40) -> str:
        """Return the last lines of every service."""
        return self.run("logs", "--no-color", "--tail", str(lines))

    def exit_codes(self) -> dict[str, int]:
        """Return how each service that is not running ended."""
        containers = map(json.loads, self.run("ps", "--all", "--format", "json").splitlines())
        return {found["Service"]: found["ExitCode"] for found in containers if found["State"] == "exited"}

    def volumes(self) -> set[str]:
        """Return the volumes that the project's containers use, those without a name of their own included."""
        containers = self.run("ps", "--all", "--quiet").split()
        template = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
        return set(run(["docker", "inspect", "--format", template, *containers]).split()) if containers else set()

    def remains(self, used_volumes: set[str]) -> dict[str, list[str]]:
        """Return what Docker still has of the project, by kind; empty when it left nothing."""
        label = f"label=com.docker.compose.project={self.name}"
        found = {kind: run(["docker", *ask, "--quiet", "--filter", label]).split() for kind, ask in KINDS.items()}
        found["volume"] += sorted(used_volumes & set(run(["docker", "volume", "ls", "--quiet"]).split()))
        return {kind: names for kind, names in found.items() if names}
