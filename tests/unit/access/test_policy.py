"""Which streams need a token, and what a token lets in."""

from __future__ import annotations

import timeit
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.policy import Asked, Policy, check_token, matches
from headrace.access.tokens import TOKEN_SECONDS_MAX, TokenRefused, ViewerToken, network
from headrace.identifiers import StreamName

TOKEN = ViewerToken(id="t", streams=("cam1", "site7/*"), expires=100.0)
ASKED = Asked(StreamName("cam1"), address="10.1.2.3")


def refusal(token: ViewerToken, now: float = 50.0, **asked: Any) -> str:
    """Return the code with which a token is refused, empty when it is not."""
    try:
        check_token(token, replace(ASKED, **asked), now)
    except TokenRefused as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("cam1", "public"),
        ("site7/a", "token"),
        ("site7/open", "public"),
        ("site7/open2", "token"),
        ("site70", "public"),
    ],
)
def test_the_longest_rule_decides(name: str, mode: str) -> None:
    """Of the rules that match a stream the longest holds, else the default."""
    policy = Policy("public", (("site7/*", "token"), ("site7/open", "public"), ("*", "public")))
    assert policy.mode_of(StreamName(name)) == mode
    assert not policy.is_open
    assert Policy().is_open


@given(
    st.lists(st.from_regex(r"[ab]{0,4}\*|[ab]{1,4}", fullmatch=True), unique=True, max_size=8),
    st.from_regex("[ab]{1,5}", fullmatch=True),
)
def test_the_rule_that_says_most_of_the_name_decides(patterns: list[str], name: str) -> None:
    """The name itself before every beginning of it, and the longer beginning before the shorter."""
    policy = Policy("public", tuple((pattern, "token") for pattern in patterns))
    about = [pattern for pattern in patterns if matches(pattern, name)]
    expected = max(about, key=lambda pattern: (pattern == name, len(pattern)), default=None)
    assert policy.rule_of(StreamName(name)) == (None if expected is None else (expected, "token"))


def test_a_thousand_rules_cost_no_more_than_a_few() -> None:
    """Every request of a player asks."""

    def seconds(rules: int) -> float:
        policy = Policy("token", tuple((f"site{number:04}/*", "token") for number in range(rules)))
        return min(timeit.repeat(lambda: policy.mode_of(StreamName("site0001/cam1")), number=200, repeat=5))

    assert seconds(1000) < 10 * seconds(2)


@pytest.mark.parametrize(
    ("stream", "code"), [("cam1", ""), ("cam10", "token_stream"), ("site7/a/b", ""), ("site7", "token_stream")]
)
def test_streams(stream: str, code: str) -> None:
    """A name is that stream alone, a prefix is all that begin so."""
    assert refusal(TOKEN, stream=StreamName(stream)) == code


@pytest.mark.parametrize(("now", "code"), [(99.9, ""), (100.0, "token_expired"), (41.0, ""), (30.0, "token_early")])
def test_times(now: float, code: str) -> None:
    """The end is exact; the beginning allows for clocks that are seconds apart."""
    assert refusal(replace(TOKEN, not_before=45.0), now) == code


def test_a_token_that_outlives_its_revocation() -> None:
    """What is valid for longer than revocations are remembered is not taken."""
    assert refusal(replace(TOKEN, expires=50.0 + TOKEN_SECONDS_MAX)) == ""
    assert refusal(replace(TOKEN, expires=3600.0 + TOKEN_SECONDS_MAX)) == "token_long"


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("https://a.example", True),
        ("https://A.example", True),
        ("http://a.example", False),
        ("https://a.example:8443", False),
        ("http://b.example:8080", True),
        ("https://www.b.example", True),
        ("https://evilb.example", False),
        ("https://b.example.evil", False),
        ("null", False),
        ("http://[bad", False),
        (None, False),
    ],
)
def test_origins(origin: str | None, taken: bool) -> None:
    """An origin is that origin alone, a domain is any of its pages and of its subdomains'."""
    token = replace(TOKEN, origins=("https://a.example", "b.example"))
    assert refusal(token, origin=origin) == ("" if taken else "token_origin")


@pytest.mark.parametrize(
    ("address", "taken"),
    [("10.9.9.9", True), ("::ffff:10.9.9.9", True), ("11.0.0.1", False), ("2001:db8::7", True), ("", False)],
)
def test_addresses(address: str, taken: bool) -> None:
    """A viewer's address is inside one of the networks, an IPv4 address in IPv6 clothes included."""
    token = replace(TOKEN, networks=(network("10.0.0.0/8"), network("2001:db8::/32")))
    assert refusal(token, address=address) == ("" if taken else "token_address")
