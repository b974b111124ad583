"""deploy/k8s as rendered: valid documents that agree with each other, with the images and with the code."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.service.runtime import STOP_SECONDS
from headrace.session.options import RelayOptions
from headrace_edge.edge import CLOSING_SECONDS, DRAIN_SECONDS
from support.kustomize import Cluster, Document, Workload

VALIDATE_SECONDS = 60.0
OLDEST = "1.30"  # docs/kubernetes.md says so: the first where `preStop.sleep` is on
NEWEST = "1.37"
SERVICES = {"control-api", "ingress", "intermediate", "edge"}
MARGIN_SECONDS = 3  # of a grace period, for a busy machine


def is_headless(service: Document) -> bool:
    """Whether a Service is a name for addresses only and balances nothing."""
    return bool(service["spec"].get("clusterIP") == "None")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("rendered", ["base_text", "example_text"])
def test_documents_are_valid(rendered: str, version: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Every document follows the schema of the oldest and the newest Kubernetes, without unknown fields."""
    file = tmp_path / "rendered.yaml"
    file.write_text(request.getfixturevalue(rendered))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=VALIDATE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed ") == len(Cluster.read(file.read_text()).documents)


def test_base_makes_no_secrets(base_text: str) -> None:
    """Secrets are the overlay's: nobody runs the base with ones that everybody knows."""
    assert Cluster.read(base_text).of("Secret") == {}


def test_everything_lies_in_one_namespace_and_belongs_to_headrace(cluster: Cluster) -> None:
    """Nothing is left in the namespace that happens to be current, and everything is found by its labels."""
    (namespace,) = cluster.of("Namespace")
    for document in cluster.documents:
        metadata = document["metadata"]
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "headrace", metadata["name"]
        assert metadata.get("namespace", namespace) == namespace, metadata["name"]


def test_references_exist(cluster: Cluster) -> None:
    """Every ConfigMap, Secret and key that a pod names is there, and none is there for nothing."""
    references = {reference for workload in cluster.workloads.values() for reference in references_of(workload)}
    for kind, name, key in references:
        assert not key or key in cluster.values(kind, name), f"{kind} {name} has no {key}"
    named = {(kind, name) for kind, name, _ in references}
    assert named == {(kind, name) for kind in ("ConfigMap", "Secret") for name in cluster.of(kind)}


def references_of(workload: Workload) -> set[tuple[str, str, str]]:
    """Return kind, name and key of everything that a workload reads; without a key all of it."""
    found = set()
    for source in workload.container.get("envFrom", ()):
        ((reference, target),) = source.items()
        if not target.get("optional"):
            found.add(("Secret" if reference == "secretRef" else "ConfigMap", target["name"], ""))
    for variable in workload.container.get("env", ()):
        if "secretKeyRef" in (origin := variable.get("valueFrom", {})):
            found.add(("Secret", origin["secretKeyRef"]["name"], origin["secretKeyRef"]["key"]))
    for volume in workload.pod.get("volumes", ()):
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"], ""))
    return found


def test_workloads_are_the_services_and_redis(cluster: Cluster) -> None:
    """There is a Deployment of each service, one of each layer of intermediates, and Redis."""
    assert {*SERVICES, "redis"} == {workload.service for workload in cluster.workloads.values()}
    assert {"control-api", "ingress", "intermediate-1", "intermediate-2", "edge", "redis"} == set(cluster.workloads)


def test_deployments_select_their_own_pods(cluster: Cluster) -> None:
    """A Deployment's selector matches its own pods and no other's."""
    for name, workload in cluster.workloads.items():
        assert cluster.selected(workload.spec["selector"]["matchLabels"]) == [name]


def test_services_select_pods_that_have_their_ports(cluster: Cluster) -> None:
    """Behind each Service are pods, all of the same program, which listen at the port it sends to."""
    for name, service in cluster.of("Service").items():
        selected = cluster.selected(service["spec"]["selector"])
        assert {cluster.workloads[workload].service for workload in selected} == {name}
        for workload, port in itertools.product(selected, service["spec"]["ports"]):
            assert cluster.workloads[workload].ports[port["targetPort"]] == port["port"], name


def test_every_pod_can_be_named(cluster: Cluster) -> None:
    """Each program has a Service; those that nodes dial by address have a headless one that hides no pod."""
    services = cluster.of("Service")
    assert {*SERVICES, "redis"} == set(services)
    assert {"ingress", "intermediate"} == {name for name, service in services.items() if is_headless(service)}
    for service in filter(is_headless, services.values()):
        assert service["spec"]["publishNotReadyAddresses"] is True


def test_several_pods_have_a_disruption_budget_and_are_spread(cluster: Cluster) -> None:
    """What runs more than once is evicted one at a time and spread over machines; a single one blocks nothing."""
    budgets = cluster.of("PodDisruptionBudget")
    assert set(budgets) == {name for name, workload in cluster.workloads.items() if workload.spec["replicas"] > 1}
    for name, budget in budgets.items():
        assert cluster.selected(budget["spec"]["selector"]["matchLabels"]) == [name]
        assert budget["spec"]["maxUnavailable"] == 1
        spread = cluster.workloads[name].pod["topologySpreadConstraints"]
        assert "kubernetes.io/hostname" in {constraint["topologyKey"] for constraint in spread}
        for constraint in spread:
            assert cluster.selected(constraint["labelSelector"]["matchLabels"]) == [name]


def test_updates_start_the_new_before_they_end_the_old(cluster: Cluster) -> None:
    """What runs more than once never has fewer pods than it should; what must not run twice never does."""
    for name, workload in cluster.workloads.items():
        strategy = workload.spec["strategy"]
        if workload.spec["replicas"] > 1:
            assert strategy["rollingUpdate"]["maxUnavailable"] == 0, name
        else:
            assert strategy == {"type": "Recreate"}, name


def test_grace_is_longer_than_the_drain(cluster: Cluster) -> None:
    """A pod is killed only after the time for load balancers to hear of it and for the service to stop by itself."""
    assert DRAIN_SECONDS + CLOSING_SECONDS + RelayOptions().drain_seconds < STOP_SECONDS
    balanced = balanced_workloads(cluster)
    for name, workload in cluster.workloads.items():
        pre_stop = workload.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert bool(pre_stop) == (name in balanced), name
        stop = 0 if name == "redis" else STOP_SECONDS
        assert workload.pod["terminationGracePeriodSeconds"] >= pre_stop + stop + MARGIN_SECONDS, name


def balanced_workloads(cluster: Cluster) -> set[str]:
    """Return the names of our services' workloads to which a Service sends connections."""
    return {
        workload
        for name, service in cluster.of("Service").items()
        if not is_headless(service) and name in SERVICES
        for workload in cluster.selected(service["spec"]["selector"])
    }


def test_pods_have_no_privileges(cluster: Cluster) -> None:
    """Every pod meets the restricted standard and more: nobody, nothing to write to, no token of the cluster's API."""
    for name, workload in cluster.workloads.items():
        pod, container = workload.pod, workload.container
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys(), name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }, name
    (namespace,) = cluster.of("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_memory_is_bounded_and_processors_are_not(cluster: Cluster) -> None:
    """Every pod says what it needs. A limit of processor time would stop a node for longer than a link waits."""
    for name, workload in cluster.workloads.items():
        resources = workload.container["resources"]
        assert {"cpu", "memory"} == resources["requests"].keys(), name
        assert {"memory"} == resources["limits"].keys(), name


def test_images_are_those_that_are_built(cluster: Cluster, repository: Path) -> None:
    """The images are those of Compose, ours with one fixed version, run as the user that they were made for."""
    compose = yaml.safe_load((repository / "deploy/docker-compose.yml").read_text())["services"]
    dockerfile = (repository / "deploy/docker/Dockerfile").read_text()
    user = re.search(r"--uid (\d+)", dockerfile)
    versions = set()
    for name, workload in cluster.workloads.items():
        image = workload.container["image"]
        assert workload.container["imagePullPolicy"] == "IfNotPresent", name
        if name == "redis":
            assert f":-{image}}}" in compose["redis"]["image"]
            assert workload.container["args"] == compose["redis"]["command"]
            continue
        image, _, version = image.partition(":")
        versions.add(version)
        assert image == f"headrace/{workload.service}"
        assert f"FROM service AS {workload.service}\n" in dockerfile
        assert user is not None
        assert workload.pod["securityContext"]["runAsUser"] == int(user[1])
    assert len(versions) == 1
    assert "" not in versions
