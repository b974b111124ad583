"""Why a program cannot begin: the two ends that are told to the person who started it, in one sentence each."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The configuration is wrong: exit code 2. The text names where, which setting, what was found, what is allowed."""


class StartupError(Exception):
    """The machine or the network does not allow what the configuration asks for: exit code 1."""
