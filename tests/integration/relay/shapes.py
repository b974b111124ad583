"""The clusters that most tests need: a source, a viewer, and what is between."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from integration.relay.mesh import CAM, Mesh, MeshNode, Source, Viewer, assert_complete


@dataclass(frozen=True, slots=True)
class Watched:
    """A source that runs, the edge that is watched, and a viewer there that has some chunks."""

    mesh: Mesh
    source: Source
    ingress: MeshNode
    edge: MeshNode
    viewer: Viewer

    @property
    def parent(self) -> MeshNode:
        """The node that the edge takes the stream from."""
        parent = self.edge.node.parent(CAM)
        assert parent is not None
        return self.mesh.nodes[parent]

    async def gets(self, chunks: int) -> None:
        """Wait until the viewer has so many chunks more."""
        had = len(self.viewer.chunks)
        await wait_until(lambda: len(self.viewer.chunks) > had + chunks)


async def direct(m: Mesh, *, edge_options: RelayOptions | None = None) -> Watched:
    """Return an edge that fetches from the ingress itself."""
    return await _watched(m, edge_options, ())


async def diamond(m: Mesh, *, edge_options: RelayOptions | None = None) -> Watched:
    """Return an edge with two intermediates, `left` and `right`, between it and the ingress."""
    return await _watched(m, edge_options, ("left", "right"))


async def goes_on(source: Source, viewer: Viewer, chunks: int = 200) -> None:
    """Wait until the viewer has that many more chunks, and check that it had all."""
    had = len(viewer.chunks)
    await wait_until(lambda: len(viewer.chunks) > had + chunks)
    assert_complete(source, viewer)


async def _watched(m: Mesh, edge_options: RelayOptions | None, between: tuple[str, ...]) -> Watched:
    ingress = await m.add("in", "ingress")
    for name in between:
        await m.add(name, layer=1)
    edge = await m.add("edge", "edge", options=edge_options)
    source = ingress.produce()
    m.run(source)
    await m.settled()
    viewer = Viewer(edge.hub)
    await wait_until(lambda: len(viewer.chunks) > 100)
    return Watched(m, source, ingress, edge, viewer)
