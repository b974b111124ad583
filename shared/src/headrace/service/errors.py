"""The two ways a service fails to begin, under the name services know them by (the classes are `headrace.errors`)."""

from headrace.errors import ConfigurationError, StartupError

__all__ = ["ConfigurationError", "StartupError"]
