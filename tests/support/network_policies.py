"""What network policies allow, worked out as Kubernetes documents it."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod with labels in a namespace, or an address outside of the cluster."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    address: str = ""


def allowed(policies: Iterable[Rule], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return whether `source` may connect to `target`: its own policies and those of the target have to agree."""
    policies = list(policies)
    return _passes(policies, "Egress", source, target, (protocol, port)) and _passes(
        policies, "Ingress", target, source, (protocol, port)
    )


def _passes(policies: list[Rule], direction: str, own: Peer, other: Peer, port: tuple[str, int]) -> bool:
    """Return whether policies of one direction let `own` talk with `other`; without any that selects it all is let."""
    selecting = [p["spec"] for p in policies if _selects(p, own) and direction in p["spec"]["policyTypes"]]
    key, ends = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    rules = [rule for spec in selecting for rule in spec.get(key, ())]
    return not selecting or any(
        _holds_port(rule, port) and (ends not in rule or any(_is(end, own, other) for end in rule[ends]))
        for rule in rules
    )


def _selects(policy: Rule, peer: Peer) -> bool:
    return policy["metadata"]["namespace"] == peer.namespace and matches(policy["spec"]["podSelector"], peer.labels)


def _holds_port(rule: Rule, port: tuple[str, int]) -> bool:
    return "ports" not in rule or port in [(entry["protocol"], entry["port"]) for entry in rule["ports"]]


def _is(end: Rule, own: Peer, other: Peer) -> bool:
    """Return whether a rule's end describes `other`, as seen from the policy's namespace."""
    if "ipBlock" in end:
        return bool(other.address) and _within(end["ipBlock"], ipaddress.ip_address(other.address))
    if not other.namespace:
        return False
    if "namespaceSelector" in end:
        here = matches(end["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        here = own.namespace == other.namespace
    return here and matches(end.get("podSelector", {}), other.labels)


def _within(block: Rule, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    excluded = any(address in ipaddress.ip_network(network) for network in block.get("except", ()))
    return address in ipaddress.ip_network(block["cidr"]) and not excluded


def matches(selector: Rule, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches; an empty one matches everything."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        _matches_expression(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _matches_expression(expression: Rule, labels: Mapping[str, str]) -> bool:
    if expression["operator"] != "In":
        raise NotImplementedError(expression["operator"])
    return labels.get(expression["key"]) in expression["values"]
