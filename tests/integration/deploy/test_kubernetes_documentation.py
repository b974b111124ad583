"""docs/kubernetes.md: the overlays it shows render and do what it says."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from headrace.relay.keyring import parse_keyring
from headrace.service.settings import load_settings
from support.kustomize import K8S, Cluster, Pod, render
from support.network_policies import Peer, allowed

INTERMEDIATES = ["intermediate-1", "intermediate-2", "intermediate-3"]
OWN_REDIS = Peer("own redis", address="198.51.100.7")
BLOCK = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def overlays(kustomize: None, repository: Path, tmp_path: Path) -> Path:
    """A copy of deploy/k8s with what the documentation shows beside the example."""
    shutil.copytree(K8S, tmp_path / "k8s")
    folder = tmp_path / "k8s" / "overlays"
    for path, text in BLOCK.findall((repository / "docs/kubernetes.md").read_text()):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    (folder / "metrics/kustomization.yaml").write_text("resources: [policy.yaml]")
    (folder / "credentials/keys.toml").write_text('own = "core-1"\n[keys.core-1]\nsecret = "0123456789abcdef"\n')
    return folder


def rendered(folder: Path, *resources: str) -> Cluster:
    """Return what an overlay renders to, with more resources than it names."""
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization["resources"] += resources
    file.write_text(yaml.safe_dump(kustomization))
    return Cluster.read(render(folder))


def test_another_layer(overlays: Path) -> None:
    """A third layer differs from the second by its number, and shares its settings, budget, limits and policies."""
    cluster = rendered(overlays / "example", "../layer-3")
    second, third = cluster.workloads["intermediate-2"], cluster.workloads["intermediate-3"]
    assert third.environment(Pod("a", "10.0.0.1"))["HEADRACE_NODE__LAYER"] == "3"
    assert third.labels == second.labels | {"layer": "3"}
    assert cluster.selected(third.spec["selector"]["matchLabels"]) == ["intermediate-3"]
    assert cluster.selected(cluster.of("Service")["intermediate"]["spec"]["selector"]) == INTERMEDIATES
    assert cluster.of("PodDisruptionBudget")["intermediate-3"]["spec"]["selector"]["matchLabels"]["layer"] == "3"
    assert third.container["securityContext"] == second.container["securityContext"]


def test_a_redis_of_your_own(overlays: Path) -> None:
    """With a Secret `registry` every service asks that store, may reach it, and the Redis here is gone."""
    cluster = rendered(overlays / "own-redis")
    assert "redis" not in cluster.workloads
    assert "redis" not in cluster.of("Service")
    for workload in cluster.workloads.values():
        told = {**workload.environment(Pod("a", "10.0.0.1")), "HEADRACE_CONFIG": ""}
        assert "redis.example.org:6380" in load_settings(None, told).registry.url
        pod = Peer(workload.name, workload.labels, "headrace")
        assert allowed(cluster.of("NetworkPolicy").values(), pod, OWN_REDIS, 6380)


def test_credentials_of_nodes(overlays: Path) -> None:
    """Every node is told a file that its pod has, from a Secret whose name stays, and the file can be read."""
    cluster = rendered(overlays / "credentials")
    parse_keyring(cluster.values("Secret", "credentials")["keys.toml"])
    for name in ("ingress", "intermediate-1", "intermediate-2", "edge"):
        workload = cluster.workloads[name]
        told = {**workload.environment(Pod("a", "10.0.0.1")), "HEADRACE_CONFIG": ""}
        file = load_settings(None, told).relay.credentials_file
        assert file is not None
        mounts = {mount["mountPath"]: mount for mount in workload.container["volumeMounts"]}
        assert mounts[str(file.parent)]["readOnly"]
        volumes = {volume["name"]: volume for volume in workload.pod["volumes"]}
        assert volumes[mounts[str(file.parent)]["name"]]["secret"]["secretName"] == "credentials"


def test_metrics_from_another_namespace(overlays: Path) -> None:
    """The policy for Prometheus opens the nodes' ports to its namespace and to no other."""
    cluster = rendered(overlays / "example", "../metrics")
    policies = cluster.of("NetworkPolicy").values()
    for name, port in (("ingress", 8080), ("intermediate-1", 8082), ("edge", 8088)):
        node = Peer(name, cluster.workloads[name].labels, "headrace")
        assert allowed(policies, Peer("prometheus", namespace="monitoring"), node, port)
        assert allowed(policies, Peer("stranger", namespace="elsewhere"), node, port) == (name == "edge")
