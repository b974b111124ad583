"""What a licence allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.access.licences import Licence, LicenceRefused, licensed, requested_domain
from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused
from headrace.identifiers import StreamName

DAY = 86_400.0
NEW = Licence(key="abc", kind="test", days=180, watchers_max=3, activations_left=2, user="alice")


def asked(origin: str | None = "https://a.example", address: str = "203.0.113.7", host: str = "edge.example") -> Asked:
    return Asked(StreamName("demo"), origin=origin, address=address, host=host)


def test_its_time_runs_from_the_first_activation() -> None:
    """Another activation changes neither the end nor, for the same domain, the number that is left."""
    active = NEW.activated("a.example", 1000.0)
    assert (active.expires, active.activations_left, active.domain) == (1000.0 + 180 * DAY, 1, "a.example")
    assert active.expires_at() == "Tue Jun 30 00:16:40 1970"
    assert active.activated("a.example", 2000.0) == active
    with pytest.raises(LicenceRefused, match="it is active for a"):
        active.activated("b.example", 2000.0)


@pytest.mark.parametrize(
    ("origin", "covered"),
    [
        ("https://a.example", True),
        ("http://www.A.example:8443", True),
        ("https://evil-a.example", False),
        ("https://a.example.evil.test", False),
        ("null", False),
        ("https://[", False),
    ],
)
def test_a_domain_with_its_subdomains(origin: str, covered: bool) -> None:
    """And nothing that only looks like it."""
    active = NEW.activated("a.example", 1000.0)
    if covered:
        token = licensed([active], asked(origin), 2000.0)
        assert (token.viewers_max, token.subject) == (3, "alice")
        assert "abc" not in token.id
    else:
        with pytest.raises(TokenRefused) as refused:
            licensed([active], asked(origin), 2000.0)
        assert (refused.value.code, refused.value.reason) == ("licence_domain", "Invalid Domain (credentials)")


def test_after_its_time_one_session_may_be_opened() -> None:
    """And a licence in force is taken before one whose time is over."""
    old = NEW.activated("a.example", 1000.0)
    late = 1000.0 + 200 * DAY
    assert licensed([old], asked(), late).viewers_max == 1
    newer = Licence(key="def", kind="full", days=365, watchers_max=None, activations_left=1)
    both = [old, newer.activated("example", 1000.0)]
    assert licensed(both, asked(), late).viewers_max is None


def test_without_a_licence_only_the_same_machine_watches() -> None:
    """The page and the viewer are both there; whoever comes by a proxy is not known to be."""
    assert licensed([], asked("http://127.0.0.1:8088", "127.0.0.1"), 0.0).viewers_max is None
    assert licensed([], asked("http://localhost", "::1"), 0.0).id == ""
    proxied = replace(asked("http://localhost", "127.0.0.1"), is_proxied=True)
    for wrong in (asked("http://localhost", "203.0.113.7"), asked("https://a.example", "127.0.0.1"), proxied):
        with pytest.raises(TokenRefused):
            licensed([NEW], wrong, 0.0)


def test_what_is_no_page_names_the_host_it_asks() -> None:
    """So does a page that fetches from its own server, for browsers send no Origin then."""
    assert requested_domain(asked(None)) == "edge.example"
