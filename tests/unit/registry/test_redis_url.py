"""Reading the store's URL: every form, and what is said of a bad one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.registry.redis_url import HOSTS_MAX, StoreForm, parse_store_url


def test_one_server() -> None:
    """The plain form: host, port, database, credentials."""
    address = parse_store_url("redis://user:s3cret@h:7000/2")
    assert (address.form, address.hosts, address.where) == (StoreForm.SINGLE, (("h", 7000),), "redis://h:7000/2")
    assert address.options == {"username": "user", "password": "s3cret", "db": 2}
    assert "s3cret" not in repr(address)


def test_sentinels() -> None:
    """Hosts, ports by default those of Sentinels, the master's name, the database, and both sorts of credentials."""
    url = "redis+sentinel://user:s3%40cret@s1:26380,s2,[::1]:5/main/3?sentinel_password=s3nt&client_name=x"
    address = parse_store_url(url)
    assert address.form is StoreForm.SENTINEL
    assert address.hosts == (("s1", 26380), ("s2", 26379), ("::1", 5))
    assert address.service == "main"
    assert address.options == {"username": "user", "password": "s3@cret", "db": 3, "client_name": "x"}
    assert address.sentinel_options == {"password": "s3nt"}
    assert address.where == "redis+sentinel://s1:26380,s2:26379,[::1]:5/main"
    assert "s3" not in repr(address).replace("s3nt", "!").replace(address.where, "")


def test_cluster_over_tls() -> None:
    """TLS by the scheme, its options in the query, for servers and Sentinels alike."""
    address = parse_store_url("rediss+cluster://h1,h2:7001/?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert address.form is StoreForm.CLUSTER
    assert address.hosts == (("h1", 6379), ("h2", 7001))
    assert address.options["ssl_ca_certs"] == "/ca.pem"
    assert address.options["connection_class"].__name__ == "SSLConnection"
    sentinel = parse_store_url("rediss+sentinel://h1/main?ssl_ca_certs=/ca.pem")
    assert sentinel.sentinel_options == {"ssl": True, "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+other://h", "must begin with"),
        ("unix+cluster:///s3cret", "must begin with"),
        ("redis+sentinel://h", "name that the Sentinels give"),
        ("redis+sentinel://h/", "name that the Sentinels give"),
        ("redis+sentinel://h/s3cret name", "name that the Sentinels give"),
        ("redis+sentinel://h/main/s3cret", "database number"),
        ("redis+sentinel:///main", "cannot be read as redis+sentinel://"),
        ("redis+sentinel://h:0/main", "cannot be read"),
        ("redis+sentinel://h:s3cret/main", "cannot be read"),
        ("redis+sentinel://h,,i/main", "cannot be read"),
        ("redis+cluster://u:s3cret@h/1", "has no databases"),
        ("redis+cluster://h?sentinel_password=s3cret", "belong to redis+sentinel"),
        ("redis+cluster://u:s3cret#x@h", "percent-encoded"),
        ("redis+cluster://" + ",".join(["h"] * (HOSTS_MAX + 1)), "at most"),
    ],
)
def test_bad_urls(url: str, says: str) -> None:
    """The sentence says what is wrong and quotes nothing that may be secret."""
    with pytest.raises(ValueError, match=r"registry URL") as caught:
        parse_store_url(url)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


@given(st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "redis+cluster"]), st.text(max_size=60))
def test_nothing_but_value_errors(scheme: str, rest: str) -> None:
    """Whatever comes is read or refused with a sentence."""
    url = f"{scheme}://{rest}"
    try:
        address = parse_store_url(url)
    except ValueError:
        with pytest.raises(ValueError, match=r"^registry URL"):
            parse_store_url(url)
    else:
        assert address.hosts or scheme == "unix"
