"""The network policies: who may connect to whom, as a whole."""

import itertools

import pytest

from support.kustomize import Cluster
from support.network_policies import Peer, allowed

NODES = {"ingress", "intermediate-1", "intermediate-2", "edge"}
INTERNET = Peer("internet", address="203.0.113.9")
STRANGER = Peer("stranger", {"app.kubernetes.io/component": "node"}, namespace="elsewhere")
NEIGHBOUR = Peer("neighbour", {"app.kubernetes.io/component": "node"}, namespace="headrace")
DNS = Peer("dns", {"k8s-app": "kube-dns"}, namespace="kube-system")
METADATA = Peer("metadata", address="169.254.169.254")


def pods(cluster: Cluster) -> dict[str, Peer]:
    """One pod of each workload."""
    return {name: Peer(name, workload.labels, "headrace") for name, workload in cluster.workloads.items()}


def may(cluster: Cluster, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies let a connection through."""
    return allowed(cluster.of("NetworkPolicy").values(), source, target, port, protocol)


def test_pods_reach_what_they_need_and_nothing_else(cluster: Cluster) -> None:
    """All connections that are possible, from anybody to any port of ours: the list is complete."""
    ours = pods(cluster)
    sources = [*ours.values(), INTERNET, STRANGER, NEIGHBOUR]
    possible = {
        (source.name, target, port)
        for source, (target, workload) in itertools.product(sources, cluster.workloads.items())
        for port in workload.ports.values()
        if may(cluster, source, ours[target], port)
    }
    outside = {INTERNET.name, STRANGER.name, NEIGHBOUR.name}
    relays = [("ingress", 8080), ("intermediate-1", 8082), ("intermediate-2", 8082), ("edge", 8088)]
    assert possible == {
        *((client, "redis", 6379) for client in NODES | {"control-api"}),
        *((node, target, port) for node in NODES for target, port in relays),
        *((viewer, "edge", port) for viewer in outside for port in (8088, 8410)),
        *((operator, "control-api", 8081) for operator in outside),
    }


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_names_are_resolved_by_those_who_use_them(cluster: Cluster, protocol: str) -> None:
    """Whoever dials names reaches the cluster's DNS; Redis dials nobody."""
    asking = {name for name, pod in pods(cluster).items() if may(cluster, pod, DNS, 53, protocol)}
    assert asking == NODES | {"control-api"}


def test_only_the_ingress_reaches_sources(cluster: Cluster) -> None:
    """Cameras are reached from the ingress alone, wherever they are; the cloud's metadata from nowhere."""
    ours = pods(cluster)
    assert {name for name, pod in ours.items() if may(cluster, pod, INTERNET, 554)} == {"ingress"}
    assert {name for name, pod in ours.items() if may(cluster, pod, METADATA, 80)} == set()
