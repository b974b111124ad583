"""docs/runbook.md: the services, deployments and networks that its commands name are those of deploy/."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from support.kustomize import Cluster


def page(repository: Path) -> str:
    """Return the page with its lines joined, since commands may be broken over two."""
    return " ".join((repository / "docs/runbook.md").read_text().split())


def test_compose_services_exist(repository: Path) -> None:
    """And the network that they are on has the folder's name."""
    services = yaml.safe_load((repository / "deploy/docker-compose.yml").read_text())["services"]
    pattern = r"docker compose -f deploy/docker-compose\.yml (?:logs --tail \d+|start|restart|stop) ([\w-]+)"
    named = set(re.findall(pattern, page(repository)))
    assert len(named) >= 3
    assert named <= services.keys()
    assert "docker network inspect deploy_default" in page(repository)


def test_kubernetes_resources_exist(repository: Path, cluster: Cluster) -> None:
    """Each `kind/name` behind kubectl is rendered by the example overlay."""
    named = set(re.findall(r"\b(deployment|service|statefulset)/([\w-]+)", page(repository)))
    assert len(named) >= 4
    rendered = {(document["kind"].lower(), document["metadata"]["name"]) for document in cluster.documents}
    assert named <= rendered
