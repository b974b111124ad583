"""What pods are told: settings that exist and are valid, the same as Compose's, and each pod's own name and address."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from headrace.service.loading import group_models
from headrace.service.settings import Settings, load_settings
from support.kustomize import Cluster, Pod, Workload

NODES = ("ingress", "intermediate-1", "intermediate-2", "edge")
WORKLOADS = (*NODES, "control-api")
COMPOSE = {"edge": "edge-1"}  # where the names differ
POD_IP = "10.42.3.17"


def pod_of(name: str) -> Pod:
    """A pod as a Deployment names them."""
    return Pod(f"{name}-7c9f6d5b8d-x2x4z", POD_IP)


@dataclass(frozen=True)
class Told:
    """What a container of a service is told: by its image, and by whoever runs it."""

    environment: dict[str, str]
    settings: Settings

    def group(self, service: str) -> Any:
        """Return the settings of a service's own group."""
        return getattr(self.settings, service.replace("-", "_"))


def image_environment(repository: Path, service: str) -> dict[str, str]:
    """Return the variables that a service's image sets."""
    dockerfile = (repository / "deploy/docker/Dockerfile").read_text()
    stage = re.search(rf"^FROM service AS {service}\n(?:(?!FROM |ENV ).*\n)*ENV (.*)$", dockerfile, re.MULTILINE)
    assert stage is not None
    return dict(part.split("=", 1) for part in stage[1].split())


def told_by_kubernetes(workload: Workload, repository: Path, folder: Path) -> Told:
    """Return what a pod of `workload` is told, its mounted files laid below `folder`."""
    environment = image_environment(repository, workload.service) | workload.environment(pod_of(workload.name))
    for path, text in workload.files():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        environment = {name: str(file) if value == path else value for name, value in environment.items()}
    return Told(environment, load_settings(None, environment))


def told_by_compose(name: str, service: str, repository: Path) -> Told:
    """Return what Compose tells a service when none of its variables is set."""
    compose = yaml.safe_load((repository / "deploy/docker-compose.yml").read_text())
    told: Mapping[str, Any] = compose["services"][name]["environment"]
    defaults = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for key, value in told.items()}
    environment = image_environment(repository, service) | defaults
    return Told(environment, load_settings(None, environment))


@pytest.fixture(params=WORKLOADS)
def workload(request: pytest.FixtureRequest, cluster: Cluster) -> Workload:
    """Each of our services."""
    return cluster.workloads[request.param]


@pytest.fixture
def told(workload: Workload, repository: Path, tmp_path: Path) -> Told:
    """What its pods are told; that it loads at all says that every name exists and every value is allowed."""
    return told_by_kubernetes(workload, repository, tmp_path)


def test_settings_are_those_of_compose(workload: Workload, told: Told, repository: Path) -> None:
    """The example is what Compose runs, in other words: but for names and addresses every setting is the same."""
    other = told_by_compose(COMPOSE.get(workload.name, workload.name), workload.service, repository)
    own = {"node": {"id", "relay_url"}}
    assert told.settings.model_dump(exclude=own) == other.settings.model_dump(exclude=own)


def test_no_variable_is_left_unresolved(told: Told) -> None:
    """A variable is expanded from ones that stand before it."""
    assert [value for value in told.environment.values() if "$(" in value] == []


def test_pods_listen_where_they_are_asked(workload: Workload, told: Told) -> None:
    """The container's ports are the settings' ports, and it listens on the pod's address."""
    group = told.group(workload.service)
    ports = {"http": group.port} | ({"fmp4": group.fmp4_port} if workload.service == "edge" else {})
    assert workload.ports == ports
    assert group.host == "0.0.0.0"


def test_pods_are_their_own_node(workload: Workload, told: Told) -> None:
    """Each pod takes its own name as its node's, so that no two are the same."""
    assert told.settings.node.id == pod_of(workload.name).name


@pytest.mark.parametrize("workload", NODES, indirect=True)
def test_nodes_announce_an_address_that_reaches_them(workload: Workload, told: Told) -> None:
    """A node's relay URL is the pod's own address, at the port that it listens on."""
    assert told.settings.node.relay_url == f"ws://{POD_IP}:{workload.ports['http']}/relay"


@pytest.mark.parametrize(("workload", "layer"), [*zip(NODES, (0, 1, 2, 1000), strict=True)], indirect=["workload"])
def test_layers_make_a_chain(workload: Workload, told: Told, layer: int) -> None:
    """Streams run from the ingress through both layers to the edges."""
    assert told.settings.node.layer_of(workload.service) == layer


def test_registry_is_the_redis_service(told: Told, cluster: Cluster) -> None:
    """The registry's URL names the Service of Redis and its port."""
    url = urlsplit(told.settings.registry.url)
    service = cluster.of("Service")[url.hostname or ""]
    assert [url.port] == [port["port"] for port in service["spec"]["ports"]]
    assert cluster.selected(service["spec"]["selector"]) == ["redis"]


def test_settings_by_name(cluster: Cluster) -> None:
    """Each variable of ours is one that the program knows, or the name of its file."""
    known = {
        f"HEADRACE_{group}__{name}".upper() for group, model in group_models().items() for name in model.model_fields
    }
    for workload in cluster.workloads.values():
        given = {name for name in workload.environment(pod_of(workload.name)) if name.startswith("HEADRACE_")}
        assert given <= known | {"HEADRACE_CONFIG"}


def test_sources_are_readable_by_the_service_alone(cluster: Cluster) -> None:
    """The file with the cameras' passwords belongs to the service's group and is open to nobody else."""
    workload = cluster.workloads["ingress"]
    (volume,) = workload.pod["volumes"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert workload.pod["securityContext"]["fsGroup"] == workload.pod["securityContext"]["runAsGroup"]
