"""What `/health/ready` asks: a few named checks, each of which answers in words."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], str | None]
"""Return `None` when all is well, else what is wrong, for people."""


class Health:
    """The checks of one process; it is ready when none of them complains."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Ask `check` from now on; another check of the same name is replaced."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Stop asking; an unknown name is ignored."""
        self._checks.pop(name, None)

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by check; empty when the process is ready."""
        answers = {name: check() for name, check in self._checks.items()}
        return {name: words for name, words in answers.items() if words is not None}
