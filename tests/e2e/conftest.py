"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.containers.commands import ContainersUnavailable
from support.containers.debian import ensure_compose
from support.containers.engine import engine
from support.containers.images import base_images
from support.redis_server import redis_server

__all__ = ["redis_server"]


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    """An engine, Compose and base images; skipped where there can be none, an error in continuous integration."""
    with ExitStack() as started:
        try:
            started.enter_context(engine(keep="KEEP_ENGINE" in os.environ))
            ensure_compose()
            found = base_images()
        except ContainersUnavailable as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no containers on this machine: {missing}")
        yield found
