"""deploy/k8s as a cluster gets it: rendered by the real kustomize, read back as documents."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
RENDER_SECONDS = 60.0
KUSTOMIZE_MIN_MAJOR = 5  # what the files are written for; kubectl has it since 1.27

_EXPANSION = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class KustomizeUnavailable(Exception):
    """This machine cannot render; the text says what is missing."""


def kustomize_command() -> list[str]:
    """Return what renders the folder that is appended: kustomize, or the one inside of kubectl.

    Raises:
        KustomizeUnavailable: when neither is here in a version that does.
    """
    found = []
    for program, version, render in (
        ("kustomize", ["version"], ["build"]),
        ("kubectl", ["version", "--client", "--output", "json"], ["kustomize"]),
    ):
        path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
        if path is None:
            continue
        told = _version(program, _run([path, *version]))
        if told >= KUSTOMIZE_MIN_MAJOR:
            return [path, *render]
        found.append(f"{path} has version {told or 'unknown'}")
    reason = "; ".join(found) or "neither kustomize nor kubectl was found"
    raise KustomizeUnavailable(f"{reason}; scripts/test-deps.sh installs kustomize {KUSTOMIZE_MIN_MAJOR}")


def _version(program: str, answer: str) -> int:
    """Return the major version of kustomize, 0 when the answer does not tell."""
    if program == "kubectl":
        answer = json.loads(answer).get("kustomizeVersion", "")
    elif "(devel)" in answer:  # built by `go install`, as ours is
        return KUSTOMIZE_MIN_MAJOR
    match = re.search(r"v(\d+)\.", answer)
    return int(match[1]) if match else 0


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=RENDER_SECONDS, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def render(folder: Path) -> str:
    """Return what a folder renders to, YAML."""
    return _run([*kustomize_command(), str(folder)])


@dataclass(frozen=True)
class Cluster:
    """Everything that was rendered, found by kind and name."""

    documents: tuple[Document, ...]

    @classmethod
    def read(cls, text: str) -> "Cluster":
        """Return the cluster that a rendered text describes."""
        return cls(tuple(yaml.safe_load_all(text)))

    def of(self, kind: str) -> dict[str, Document]:
        """Return the documents of one kind, by name."""
        return {d["metadata"]["name"]: d for d in self.documents if d["kind"] == kind}

    @cached_property
    def workloads(self) -> "dict[str, Workload]":
        """What runs pods, by name."""
        return {name: Workload(name, document, self) for name, document in self.of("Deployment").items()}

    def selected(self, selector: Mapping[str, str]) -> list[str]:
        """Return the names of the workloads whose pods have these labels."""
        return [name for name, workload in self.workloads.items() if selector.items() <= workload.labels.items()]

    def values(self, kind: str, name: str) -> dict[str, str]:
        """Return what a ConfigMap or Secret holds; a `KeyError` says that there is none."""
        document = self.of(kind)[name]
        if kind == "ConfigMap":
            return dict(document.get("data", {}))
        return {key: base64.b64decode(value).decode() for key, value in document.get("data", {}).items()}


@dataclass(frozen=True)
class Pod:
    """A pod that a workload could have: what the downward API tells it."""

    name: str
    ip: str


@dataclass(frozen=True)
class Workload:
    """A Deployment and the one container of its pods."""

    name: str
    document: Document
    cluster: Cluster

    @property
    def spec(self) -> Document:
        return dict(self.document["spec"])

    @property
    def pod(self) -> Document:
        """The specification of its pods."""
        return dict(self.spec["template"]["spec"])

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return dict(self.spec["template"]["metadata"]["labels"])

    @property
    def service(self) -> str:
        """Which program it runs, for example `edge`."""
        return self.labels["app.kubernetes.io/name"]

    @property
    def container(self) -> Document:
        (container,) = self.pod["containers"]
        return dict(container)

    @property
    def ports(self) -> dict[str, int]:
        """The container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def probe(self, kind: str) -> Document:
        """Return the probe of a kind: startup, readiness or liveness."""
        return dict(self.container[f"{kind}Probe"])

    def environment(self, pod: Pod) -> dict[str, str]:
        """Return the variables of the container in `pod`, resolved as the kubelet does."""
        resolved: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            ((reference, target),) = source.items()
            kind = "Secret" if reference == "secretRef" else "ConfigMap"
            if target["name"] in self.cluster.of(kind) or not target.get("optional"):
                resolved |= self.cluster.values(kind, target["name"])
        for variable in self.container.get("env", ()):
            resolved[variable["name"]] = self._value(variable, pod, resolved)
        return resolved

    def _value(self, variable: Document, pod: Pod, known: Mapping[str, str]) -> str:
        """Resolve one variable; only those before it are known to it."""
        if "value" in variable:
            return _EXPANSION.sub(lambda match: known.get(match[1], match[0]), variable["value"])
        ((kind, reference),) = variable["valueFrom"].items()
        if kind == "secretKeyRef":
            return self.cluster.values("Secret", reference["name"])[reference["key"]]
        if kind == "configMapKeyRef":
            return self.cluster.values("ConfigMap", reference["name"])[reference["key"]]
        path = reference["fieldPath"]
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
        return self.labels[label[1]] if label else {"metadata.name": pod.name, "status.podIP": pod.ip}[path]

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield path and contents of every file that is mounted from a Secret or ConfigMap."""
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", ())}
        for mount in self.container.get("volumeMounts", ()):
            volume = volumes[mount["name"]]
            if "secret" in volume:
                held = self.cluster.values("Secret", volume["secret"]["secretName"])
            elif "configMap" in volume:
                held = self.cluster.values("ConfigMap", volume["configMap"]["name"])
            else:
                continue
            yield from ((f"{mount['mountPath']}/{key}", text) for key, text in held.items())
