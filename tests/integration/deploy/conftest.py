"""The example cluster, rendered once."""

import os
from pathlib import Path

import pytest

from support.kustomize import K8S, Cluster, KustomizeUnavailable, kustomize_command, render

EXAMPLE = K8S / "overlays" / "example"


@pytest.fixture(scope="session")
def kustomize() -> None:
    """A kustomize that renders; skipped where there is none, an error in continuous integration."""
    try:
        kustomize_command()
    except KustomizeUnavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"cannot render deploy/k8s: {missing}")


@pytest.fixture(scope="session")
def example_text(kustomize: None) -> str:
    """The example overlay as YAML."""
    return render(EXAMPLE)


@pytest.fixture(scope="session")
def base_text(kustomize: None) -> str:
    """The base alone as YAML."""
    return render(K8S / "base")


@pytest.fixture(scope="session")
def cluster(example_text: str) -> Cluster:
    """The example overlay."""
    return Cluster.read(example_text)


@pytest.fixture
def repository() -> Path:
    """Where the sources lie."""
    return K8S.parents[1]
