"""What tests need: a clock that is moved by hand, waiting for conditions, free ports."""

from headrace.testing.clock import FakeClock
from headrace.testing.waiting import free_port, wait_until

__all__ = ["FakeClock", "free_port", "wait_until"]
