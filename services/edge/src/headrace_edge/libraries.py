"""Players that others made, for pages where WebSocket does not get through: served when they are installed.

They are never part of the tree. In an image they lie in `vendor` beside this module; in a working copy they come from
`web/node_modules`, beside the player that the package's `web` links to.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

LIBRARIES = {
    "hls.js": "hls.js/dist/hls.min.js",
    "dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
}
"""Where npm puts each library, by the name it is served under."""


def find_libraries() -> dict[str, bytes]:
    """Return the installed libraries by name."""
    found = {}
    for name, path in LIBRARIES.items():
        body = _read(name, path)
        if body is not None:
            found[name] = body
    return found


def _read(name: str, path: str) -> bytes | None:
    package = resources.files("headrace_edge")
    candidates: list[Traversable] = [package / "vendor" / name]
    if isinstance(package, Path):
        candidates.append((package / "web").resolve().parent / "node_modules" / path)
    for candidate in candidates:
        if candidate.is_file():
            return candidate.read_bytes()
    return None
