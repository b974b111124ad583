"""A real store for nodes that are processes of their own."""

from support.redis_server import redis_server  # noqa: F401
