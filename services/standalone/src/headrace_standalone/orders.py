"""Orders to nodes: drain one, or have a stream come from another. They stand in the registry and outlive every node."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headrace.clock import SystemClock, microseconds
from headrace.errors import StartupError
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import Desired, DesiredDrain, DesiredMove, desired_key
from headrace.registry.registry import Registry
from headrace_control_api.choosing import move_objection
from headrace_standalone.api import send
from headrace_standalone.shared_registry import with_registry

BY_MAX = 64
"""Longest name of who asked, in a record."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order.

    Attributes:
        key: of its record.
        sentence: for people.
        standing: whether the order holds.
        revision: of its record; `None` where the control API wrote it, 0 when it is not there any more.
    """

    key: str
    sentence: str
    standing: bool
    revision: int | None = None

    def show(self, as_json: bool) -> None:
        """Print it."""
        document: dict[str, Any] = {"order": self.key, "standing": self.standing}
        if self.revision is not None:
            document["revision"] = self.revision
        print(json.dumps(document) if as_json else self.sentence)


def drain(node: NodeId, undo: bool, api: str | None, config: Path | None, environ: Mapping[str, str]) -> Outcome:
    """Ask a node to give everything away, or ask it no more.

    Goes by way of the control API at `api`, else errors are those of `with_registry`.
    """
    order = DesiredDrain(node=node, by=_who(), since_us=_now_us())
    sentence = (
        f"{node} takes children and viewers again"
        if undo
        else f"{node} gives its children and viewers to other nodes, and stays up idle until it is stopped or "
        f"'headrace drain {node} --undo'"
    )
    if api is not None:
        send(api, "DELETE" if undo else "PUT", f"/api/v1/nodes/{node}/drain", environ)
        return Outcome(str(desired_key(order)), sentence, standing=not undo)

    async def act(registry: Registry) -> Outcome:
        if undo:
            return await _withdraw(registry, order, sentence)
        _check_known(registry, node)
        return await _give(registry, order, sentence)

    return with_registry(config, environ, act)


def move(
    stream: StreamName,
    to: NodeId | None,
    child: NodeId | None,
    undo: bool,
    api: str | None,
    config: Path | None,
    environ: Mapping[str, str],
) -> Outcome:
    """Have `stream` come from node `to`, for one child or all, or leave the choice to them again; as `drain`."""
    order = DesiredMove(stream=stream, parent=to or "none", child=child or "", by=_who(), since_us=_now_us())
    withdrawn = f"{child or 'every node'} chooses by itself where to fetch {stream}"
    given = f"{child or 'every node that can'} fetches {stream} from {to}"
    if api is not None:
        path = f"/api/v1/streams/{quote(stream, safe='')}/move"
        if undo or to is None:
            send(api, "DELETE", path + (f"?child={child}" if child else ""), environ)
            return Outcome(str(desired_key(order)), withdrawn, standing=False)
        send(api, "PUT", path, environ, {"to": to} | ({"child": child} if child else {}))
        return Outcome(str(desired_key(order)), given, standing=True)

    async def act(registry: Registry) -> Outcome:
        if undo or to is None:
            return await _withdraw(registry, order, withdrawn)
        for node in (to, *([child] if child else [])):
            _check_known(registry, node)
        if stream not in registry.streams:
            raise StartupError(f"there is no stream {stream}; 'headrace streams' lists them")
        if (objection := move_objection(registry, stream, to, child)) is not None:
            raise StartupError(objection)
        if not child and registry.nodes[to].role == "ingress":
            return await _give(registry, order, f"the source of {stream} goes to {to}")
        return await _give(registry, order, f"{given} while it is there and has room")

    return with_registry(config, environ, act)


async def _give(registry: Registry, order: Desired, sentence: str) -> Outcome:
    return Outcome(str(desired_key(order)), sentence, True, await registry.put_desired(order))


async def _withdraw(registry: Registry, order: Desired, sentence: str) -> Outcome:
    key = desired_key(order)
    if not await registry.drop_desired(key):
        raise StartupError(f"nobody asked for that: there is no order {key}")
    return Outcome(str(key), sentence, False, 0)


def _check_known(registry: Registry, node: NodeId) -> None:
    if node not in registry.nodes:
        raise StartupError(f"there is no node {node}; 'headrace nodes' lists them")


def _now_us() -> int:
    return microseconds(SystemClock().utc())


def _who() -> str:
    try:
        return getpass.getuser()[:BY_MAX]
    except (OSError, KeyError):
        return ""  # a container's user may have no name
