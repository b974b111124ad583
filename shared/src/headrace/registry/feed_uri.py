"""What a feed's URI may be: one allow-list of schemes, checked once, credentials kept apart from what is shown.

| form | is |
|---|---|
| `rtsp://[user:password@]host[:port]/path[?query][#transport=udp]` | pulled from a camera or server |
| `rtsps://…` | the same over TLS |
| `rtmp://[user:password@]host[:port]/app/name`, `rtmps://…` | pulled from an RTMP server |
| `http://[user:password@]host[:port]/path[?query]`, `https://…` | MPEG-TS, MP4, FLV or Matroska, or a playlist of HLS |
| `udp://address:port` | MPEG-TS that arrives there: an address of this machine, or a group |
| `srt://host:port[?streamid=…&latency=…]` | MPEG-TS of a listener that is called; needs the program ffmpeg |
| `file:/path`, `file:///path`, `file:relative/path`, each with `[?loop=no]` | a media file at live speed |
| `ws://[key:secret@]host[:port][/path][?token=…]` | a stream of another Headrace, by `/play/` or `/relay` |
| `wss://…` | the same over TLS |
| `headrace://node/stream`, `headraces://…` | a stream of a node of this cluster under another name |
| `test:[?size=1280x720&rate=25&gop=1&audio=yes&video=yes]` | the test pattern |

Blanks and `?` in a file's name are written `%20` and `%3F`. A fragment never travels to a camera, so an option of ours
can stand there; a query does, so none of ours can. Pure: whether a file exists and lies where it may is asked when it
is opened.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

URI_MAX_CHARACTERS = 2048
"""Longest URI: what browsers and proxies agree to carry."""

SIZE_MIN, SIZE_MAX = 128, 3840
"""Narrowest and widest test pattern, in pixels: its cells need the one, its cost limits the other."""

RATE_MAX = 120
"""Highest frame rate of the test pattern, in frames per second: displays go no higher."""

GOP_MAX_SECONDS = 600.0
"""Longest GOP of the test pattern, in seconds: ten times what the packager is tested with."""

Transport = Literal["tcp", "udp"]


class InvalidUri(ValueError):
    """A URI that is not allowed; the sentence says why and holds no credentials."""


class Scheme(enum.Enum):
    """The schemes a feed may come by."""

    RTSP = "rtsp"
    RTSPS = "rtsps"
    RTMP = "rtmp"
    RTMPS = "rtmps"
    HTTP = "http"
    HTTPS = "https"
    UDP = "udp"
    SRT = "srt"
    FILE = "file"
    TEST = "test"
    WS = "ws"
    WSS = "wss"
    HEADRACE = "headrace"
    HEADRACES = "headraces"

    @property
    def is_network(self) -> bool:
        """Whether it connects to an address."""
        return self in _NETWORK


BORDER_SCHEMES = frozenset({Scheme.WS, Scheme.WSS, Scheme.HEADRACE, Scheme.HEADRACES})
"""What brings media that is packaged already."""

_NETWORK = frozenset(Scheme) - {Scheme.FILE, Scheme.TEST, Scheme.HEADRACE, Scheme.HEADRACES}


@dataclass(frozen=True, slots=True)
class PatternOptions:
    """What the test pattern looks and sounds like.

    Attributes:
        width, height: in pixels, even.
        rate: frames per second.
        gop_seconds: from keyframe to keyframe; 0 makes every frame one.
        video, audio: which of the two it has, at least one.
    """

    width: int = 1280
    height: int = 720
    rate: Fraction = Fraction(25)
    gop_seconds: float = 1.0
    video: bool = True
    audio: bool = True


@dataclass(frozen=True, slots=True)
class FeedUri:
    """A URI that was checked; `str` and `repr` show no credentials.

    Attributes:
        scheme: how the feed comes.
        shown: the URI for people, without credentials.
        address: the URI for libav, with credentials; for network schemes only.
        path: the file, for `file:` only; not resolved yet.
        transport: how RTSP media is asked to travel, `None` when the URI does not say.
        loop: whether a file begins again when it ends, `None` when the URI does not say.
        pattern: for `test:` only.
        trusted: it was named in the operator's own configuration.
    """

    scheme: Scheme
    shown: str
    address: str = field(default="", repr=False)
    path: Path | None = field(default=None, repr=False)
    transport: Transport | None = None
    loop: bool | None = None
    pattern: PatternOptions = PatternOptions()
    trusted: bool = False

    def __str__(self) -> str:
        return self.shown


def parse_uri(text: str, *, trusted: bool) -> FeedUri:
    """Return the URI that `text` is.

    Args:
        text: as it stands in the configuration or came by API.
        trusted: whether the operator's own configuration names it. Any other reaches public addresses and the networks
            that are allowed, and reads files below the configured roots only.

    Raises:
        InvalidUri: when its scheme is not allowed, a part is missing or malformed, or an option is unknown.
    """
    if not text or len(text) > URI_MAX_CHARACTERS:
        raise InvalidUri(f"a source URI has 1 to {URI_MAX_CHARACTERS} characters, this one {len(text)}")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise InvalidUri("a source URI holds no blanks and no control characters; write a blank as %20")
    if "%00" in text:
        raise InvalidUri("a source URI holds no NUL")
    name, colon, _ = text.partition(":")
    try:
        scheme = Scheme(name.lower() if colon else "")
    except ValueError:
        raise InvalidUri(_scheme_sentence(text)) from None
    match scheme:
        case Scheme.RTSP | Scheme.RTSPS | Scheme.RTMP | Scheme.RTMPS | Scheme.HTTP | Scheme.HTTPS | Scheme.SRT:
            return _parse_network(scheme, text, trusted)
        case Scheme.UDP:
            return _parse_udp(text, trusted)
        case Scheme.WS | Scheme.WSS | Scheme.HEADRACE | Scheme.HEADRACES:
            return _parse_network(scheme, text, trusted)
        case Scheme.FILE:
            return _parse_file(text, trusted)
        case Scheme.TEST:
            return _parse_test(text, trusted)


def redact(text: str) -> str:
    """Return a URI without what may be a credential: user and password, the query, path parts with `=` in them.

    Many cameras want user and password in the path or query; only the operator knows which, so all of it is hidden.
    Where it is not certain what is host and what is password, as with an unescaped `@`, `/`, `?` or `#` in one, nothing
    is shown but the scheme.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        return text.partition("?")[0]
    found = _AUTHORITY.match(rest)
    if found is None or "@" in rest[found.end() :]:
        return f"{scheme}://***"
    path, query, _ = re.sub(r"[?#]", "?", rest[found.end() :]).partition("?")
    shown = "/".join("***" if "=" in part else part for part in path.split("/"))
    return f"{scheme}://{'***@' if found['userinfo'] else ''}{found['host']}{shown}{'?***' if query else ''}"


_AUTHORITY = re.compile(
    r"(?P<userinfo>[^@/?#]*@)?(?P<host>(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?)(?=[/?#]|$)"
)
"""User, password, host and port at the beginning of what follows `scheme://` (RFC 3986, 3.2)."""


def _scheme_sentence(text: str) -> str:
    allowed = ", ".join(f"{scheme.value}:" for scheme in Scheme)
    named = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=:)", text)
    return f"a source URI begins with one of {allowed}" + (f" and not with {named[0]}:" if named else "")


# -- rtsp, rtsps ------------------------------------------------------------------------------------------------------


def _parse_network(scheme: Scheme, text: str, trusted: bool) -> FeedUri:
    shown = redact(text)
    parts = _split(text, shown)
    transport = _transport(parts.fragment, shown)
    if scheme is Scheme.RTSPS and transport == "udp":
        raise InvalidUri(f"{shown}: rtsps travels by TCP only")
    if transport is not None and scheme not in {Scheme.RTSP, Scheme.RTSPS}:
        raise InvalidUri(f"{shown}: a transport can be chosen for rtsp only")
    if "\\" in text or not parts.hostname:
        raise InvalidUri(f"{shown}: a host is missing, as in {scheme.value}://192.0.2.7/stream")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", parts.hostname):
        raise InvalidUri(f"{shown}: its host has characters that no host name has")
    address = f"{scheme.value}{text[len(scheme.value) :].partition('#')[0]}"
    return FeedUri(scheme, redact(address), address, None, transport, trusted=trusted)


def _parse_udp(text: str, trusted: bool) -> FeedUri:
    # libav would take a file to write, a device or other addresses out of a query, so there is none.
    parts = _split(text, redact(text))
    if parts.port is None or parts.query or parts.path.strip("/") or "@" in parts.netloc:
        raise InvalidUri("a source by UDP is written udp://address:port, as in udp://239.1.2.3:5000")
    return _parse_network(Scheme.UDP, text.rstrip("/"), trusted)


def _split(text: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        if not text.partition(":")[2].startswith("//") or parts.port == 0:
            raise ValueError
        return parts
    except ValueError:
        raise InvalidUri(f"{shown}: it is not of the form scheme://host:port/path, with a port up to 65535") from None


def _transport(fragment: str, shown: str) -> Transport | None:
    options = _options(fragment, {"transport"}, shown, "fragment")
    match options.get("transport"):
        case None:
            return None
        case "tcp":
            return "tcp"
        case "udp":
            return "udp"
    raise InvalidUri(f"{shown}: transport is tcp or udp")


# -- file -------------------------------------------------------------------------------------------------------------


def _parse_file(text: str, trusted: bool) -> FeedUri:
    name, _, query = text.partition(":")[2].partition("?")
    shown = f"file:{name}"
    options = _options(query, {"loop"}, shown, "query")
    if name.startswith("//"):
        host, slash, path = name[2:].partition("/")
        if host not in {"", "localhost"}:
            raise InvalidUri(f"{shown}: files of other hosts cannot be read; write file:///path")
        name = slash + path
    path = unquote(name)
    if not path or "\0" in path:
        raise InvalidUri(f"{shown}: a path is missing, as in file:/media/clip.mp4")
    loop = _yes(options["loop"], "loop", shown) if "loop" in options else None
    return FeedUri(Scheme.FILE, shown, path=Path(path), loop=loop, trusted=trusted)


# -- test -------------------------------------------------------------------------------------------------------------


def _parse_test(text: str, trusted: bool) -> FeedUri:
    rest = text.partition(":")[2]
    if rest and not rest.startswith("?"):
        raise InvalidUri("the test pattern is written test: or test:?size=1280x720&rate=25&gop=1&audio=yes&video=yes")
    options = _options(rest[1:], {"size", "rate", "gop", "audio", "video"}, "test pattern", "query")
    default = PatternOptions()
    width, height = _size(options["size"]) if "size" in options else (default.width, default.height)
    pattern = PatternOptions(
        width=width,
        height=height,
        rate=_rate(options["rate"]) if "rate" in options else default.rate,
        gop_seconds=_gop(options["gop"]) if "gop" in options else default.gop_seconds,
        video=_yes(options.get("video", "yes"), "video", "test pattern"),
        audio=_yes(options.get("audio", "yes"), "audio", "test pattern"),
    )
    if not (pattern.video or pattern.audio):
        raise InvalidUri("the test pattern without video and without audio has nothing to show")
    return FeedUri(Scheme.TEST, text, pattern=pattern, trusted=trusted)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (SIZE_MIN <= width <= SIZE_MAX and SIZE_MIN // 2 <= height <= SIZE_MAX) or width % 2 or height % 2:
        raise InvalidUri(
            f"test pattern: size is WIDTHxHEIGHT, even numbers, width {SIZE_MIN} to {SIZE_MAX}, "
            f"height {SIZE_MIN // 2} to {SIZE_MAX}"
        )
    return width, height


def _rate(text: str) -> Fraction:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}|/[0-9]{1,6})?", text) and not text.endswith("/0"):
        rate = Fraction(text).limit_denominator(1001)
        if 1 <= rate <= RATE_MAX:
            return rate
    raise InvalidUri(f"test pattern: rate is 1 to {RATE_MAX} frames per second, as in 25, 29.97 or 30000/1001")


def _gop(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) and float(text) <= GOP_MAX_SECONDS:
        return float(text)
    raise InvalidUri(f"test pattern: gop is 0 (every frame a keyframe) to {GOP_MAX_SECONDS:g} seconds")


# -- options ----------------------------------------------------------------------------------------------------------


def _options(text: str, known: set[str], shown: str, where: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=16) if text else []
    except ValueError:
        raise InvalidUri(f"{shown}: its {where} is not of the form name=value&name=value") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise InvalidUri(f"{shown}: an option in its {where} stands twice")
    if unknown := sorted(set(options) - known):
        raise InvalidUri(f"{shown}: unknown option {unknown[0]!r} in its {where}; there is {', '.join(sorted(known))}")
    return options


def _yes(text: str, name: str, shown: str) -> bool:
    if text in {"yes", "no"}:
        return text == "yes"
    raise InvalidUri(f"{shown}: {name} is yes or no")
