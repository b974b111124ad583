"""Keys of publishers, and guesses at them."""

from __future__ import annotations

import pytest

from headrace.identifiers import StreamName
from headrace_ingress.admission import ADDRESSES_MAX, WRONG_MAX, WRONG_SECONDS, Guesses, Keys, site_of

KEYS = Keys({"cam1": "of-one", "site7/*": "of-site", "site7/gate*": "of-gates", "*": "of-all"})


@pytest.mark.parametrize(
    ("name", "key"),
    [("cam1", "of-one"), ("site7/a", "of-site"), ("site7/gate2", "of-gates"), ("cam10", "of-all")],
)
def test_the_longest_match_counts(name: str, key: str) -> None:
    """A name goes before beginnings, a long one before a short one."""
    assert KEYS.of(StreamName(name)) == key


def test_who_may() -> None:
    """With a key that key alone, even from here; without one whoever comes from this machine."""
    name, keys = StreamName("cam1"), Keys({"cam1": "secret"})
    assert keys.opens(name, "secret", is_local=False)
    assert not keys.opens(name, "", is_local=True)
    assert not keys.opens(name, "secreu", is_local=True)
    assert not keys.opens(name, "\ud800", is_local=True)
    assert Keys({}).opens(name, "", is_local=True)
    assert not Keys({}).opens(name, "any", is_local=False)


def test_guessing_is_barred_and_forgotten() -> None:
    """So many wrong keys within a minute, then no more until the first is a minute old; others are not concerned."""
    guesses = Guesses()
    for number in range(WRONG_MAX):
        assert not guesses.is_barred("192.0.2.1", number)
        guesses.note("192.0.2.1", number)
    assert guesses.is_barred("192.0.2.1", WRONG_MAX)
    assert guesses.is_barred("::ffff:192.0.2.1", WRONG_MAX)
    assert not guesses.is_barred("192.0.2.2", WRONG_MAX)
    assert not guesses.is_barred("192.0.2.1", WRONG_SECONDS + 0.5)


def test_a_site_is_one_guesser() -> None:
    """Whoever has an IPv6 network has all its addresses."""
    assert site_of("2001:db8::1") == site_of("2001:db8::ffff:1") != site_of("2001:db8:0:1::1")
    assert site_of("fe80::1%eth0") == site_of("fe80::2")
    assert site_of("nonsense") == "nonsense"


def test_what_is_remembered_is_bounded() -> None:
    """A million addresses leave as many entries as are allowed, each a few times long."""
    guesses = Guesses()
    for number in range(ADDRESSES_MAX + 100):
        guesses.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    for _ in range(100):
        guesses.note("192.0.2.1", 0.0)
    assert len(guesses._wrong) == ADDRESSES_MAX
    assert len(guesses._wrong["192.0.2.1"]) <= WRONG_MAX + 1
