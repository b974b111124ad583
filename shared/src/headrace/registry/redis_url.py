"""Reading `registry.url`: one server, a master that Sentinels know, or a cluster; plain or by TLS. Pure.

| form | is |
|---|---|
| `redis://[user:password@]host[:port][/db]` | one server |
| `unix:///path` | one server on this machine |
| `redis+sentinel://[user:password@]host[:port],…/service[/db]` | the master `service`, asked of these Sentinels |
| `redis+cluster://[user:password@]host[:port],…` | a cluster, asked of these servers |

`rediss`, `rediss+sentinel` and `rediss+cluster` speak TLS. The query is redis-py's (`ssl_ca_certs`, `ssl_certfile`,
`ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`, `client_name`, …); `sentinel_username` and `sentinel_password` are
for the Sentinels themselves. Messages never quote the URL: anything in it may be part of a password.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import parse_url

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

HOSTS_MAX: Final = 16
"""Most Sentinels or servers of a cluster that are named; the rest they tell themselves."""

_SCHEMES: Final = ("redis", "rediss", "unix")
_FORMS: Final = ("sentinel", "cluster")
_ADVICE: Final = "special characters in user and password must be percent-encoded"
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)


class StoreForm(enum.Enum):
    """How the server that holds the keys is found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where a store is.

    Attributes:
        form: how the server is found.
        hosts: whom to ask, `(host, port)`; empty for a Unix socket.
        options: redis-py's options of a connection, without host and port.
        where: for people, without credentials.
        service: what the Sentinels call the master.
        sentinel_options: redis-py's options for talking to a Sentinel.
    """

    form: StoreForm
    hosts: tuple[tuple[str, int], ...]
    options: dict[str, Any] = field(repr=False)
    where: str
    service: str = ""
    sentinel_options: dict[str, Any] = field(repr=False, default_factory=dict)


def parse_store_url(url: str) -> StoreAddress:
    """Return where `url` says that the store is.

    Raises:
        ValueError: a sentence that says what is wrong, without anything of the URL but its scheme.
    """
    scheme = url.partition("://")[0]
    base, _, form = scheme.partition("+")
    if "://" not in url or base not in _SCHEMES or (form and (form not in _FORMS or base == "unix")):
        raise ValueError(
            "registry URL: it must begin with redis://, rediss:// or unix://, redis+sentinel:// or redis+cluster:// "
            "(rediss+… for TLS), or be memory:"
        )
    if form:
        return _parse_many(url, base, StoreForm(form))
    options = _connection_options(url, url)
    hosts = () if base == "unix" else ((options.pop("host"), options.pop("port", DEFAULT_PORT)),)
    return StoreAddress(StoreForm.SINGLE, hosts, options, _without_credentials(url))


def _parse_many(url: str, base: str, form: StoreForm) -> StoreAddress:
    shape = f"{base}+{form.value}://[user:password@]host[:port],…" + ("/service" if form is StoreForm.SENTINEL else "")
    if "#" in url:
        raise ValueError(f"registry URL: it cannot be read as {shape}; {_ADVICE}")
    rest, _, query = url.partition("://")[2].partition("?")
    place, _, path = rest.partition("/")
    user, mark, names = place.rpartition("@")
    default = SENTINEL_PORT if form is StoreForm.SENTINEL else DEFAULT_PORT
    hosts = _hosts(names, default, shape)
    service, database = _service(path, form, shape)
    own, sentinel = _split_query(query)
    if sentinel and form is not StoreForm.SENTINEL:
        raise ValueError("registry URL: sentinel_username and sentinel_password belong to redis+sentinel://")
    first = f"{base}://{user}{mark}{_host_text(hosts[0])}" + (f"/{database}" if database else "")
    options = _connection_options(f"{first}?{own}" if own else first, shape)
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if base == "rediss":
        sentinel |= {"ssl": True, **tls}
    del options["host"]
    options.pop("port", None)
    text = f"{base}+{form.value}://{','.join(map(_host_text, hosts))}" + (f"/{service}" if service else "")
    return StoreAddress(form, hosts, options, text, service, sentinel)


def _hosts(names: str, default: int, shape: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for name in names.split(","):
        try:
            parts = urlsplit(f"redis://{name}")
            port = default if parts.port is None else parts.port
        except ValueError:
            port = 0
        if not port or not parts.hostname or parts.path or "@" in name:
            raise ValueError(f"registry URL: it cannot be read as {shape}; {_ADVICE}")
        hosts.append((parts.hostname, port))
    if len(hosts) > HOSTS_MAX:
        raise ValueError(f"registry URL: {len(hosts)} hosts, at most {HOSTS_MAX} are allowed")
    return tuple(hosts)


def _service(path: str, form: StoreForm, shape: str) -> tuple[str, str]:
    """Return the master's name and the number of the database, each empty when not given."""
    if form is StoreForm.CLUSTER:
        if path.strip("/") not in ("", "0"):
            raise ValueError("registry URL: a cluster has no databases, nothing may follow its hosts")
        return "", ""
    service, _, database = path.partition("/")
    if not _SERVICE.fullmatch(service):
        raise ValueError(
            f"registry URL: it cannot be read as {shape}; the name that the Sentinels give the master must follow "
            "their hosts, of letters, digits and _ . -"
        )
    if not re.fullmatch(r"\d{0,5}", database, re.ASCII):
        raise ValueError("registry URL: what follows the service must be a database number")
    return service, database


def _split_query(query: str) -> tuple[str, dict[str, Any]]:
    """Return the query for the server and the options for the Sentinels."""
    pairs = parse_qsl(query, keep_blank_values=True)
    words = {"sentinel_username": "username", "sentinel_password": "password"}
    own = [(name, value) for name, value in pairs if name not in words]
    return urlencode(own), {words[name]: unquote(value) for name, value in pairs if name in words}


def _connection_options(url: str, form: str) -> dict[str, Any]:
    """Return redis-py's options for the URL of one server."""
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        valid = bool(parts.path.strip("/")) if scheme == "unix" else bool(parts.hostname) and parts.port != 0
        database = scheme == "unix" or re.fullmatch(r"(/\d*)?", parts.path, re.ASCII) is not None
        options = dict(parse_url(url))
    except ValueError:
        valid = database = False
    if not valid:
        if form == url:
            form = "unix:///path" if scheme == "unix" else f"{scheme}://[user:password@]host[:port][/db]"
        raise ValueError(f"registry URL: it cannot be read as {form}; {_ADVICE}")
    if not database or "#" in url:
        raise ValueError(f"registry URL: what follows the host must be a database number; {_ADVICE}")
    return options


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    place = _host_text((parts.hostname or "", parts.port or DEFAULT_PORT))
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _host_text(host: tuple[str, int]) -> str:
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
