"""What feed URIs may be, and what is shown of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.registry.feed_uri import (
    URI_MAX_CHARACTERS,
    FeedUri,
    InvalidUri,
    PatternOptions,
    Scheme,
    parse_uri,
    redact,
)


def parse(text: str) -> FeedUri:
    return parse_uri(text, trusted=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://192.0.2.7/cam", "rtsp://192.0.2.7/cam"),
        ("rtsp://operator:secret@192.0.2.7:554/cam", "rtsp://***@192.0.2.7:554/cam"),
        ("RTSP://cam.example/x", "rtsp://cam.example/x"),
        ("rtsps://[2001:db8::7]:322/cam", "rtsps://[2001:db8::7]:322/cam"),
        ("rtsp://192.0.2.7/live?user=admin&password=secret", "rtsp://192.0.2.7/live?***"),
        ("rtsp://192.0.2.7:554/user=admin_password=secret_channel=1", "rtsp://192.0.2.7:554/***"),
        ("rtsp://192.0.2.7/cam@1", "rtsp://***"),
    ],
)
def test_network_uris_are_shown_without_credentials(text: str, shown: str) -> None:
    """A network URI keeps its address for libav; people see none of what may be a credential."""
    uri = parse(text)
    assert (str(uri), uri.shown) == (shown, shown)
    assert uri.address.lower() == text.lower()
    assert "secret" not in repr(uri)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://operator:sec/ret@192.0.2.7/cam",
        "rtsp://operator:sec#ret@192.0.2.7/cam",
        "rtsp://operator:sec?ret@192.0.2.7/cam",
        "rtsp://operator:secret@192.0.2.7:99999/cam",
        "rtsp://operator:secret@/cam",
        "rtsp://operator:secret@192.0.2.7/cam#colour=red",
        "rtsps://operator:secret@192.0.2.7/cam#transport=udp",
        "ftp://operator:secret@192.0.2.7/cam",
    ],
)
def test_refusals_tell_no_credentials(text: str) -> None:
    """What is refused is refused without repeating its password, however malformed it is."""
    with pytest.raises(InvalidUri) as refused:
        parse(text)
    assert "sec" not in str(refused.value).replace("seconds", "")
    assert "ret@" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "cam.mp4",
        "/etc/passwd",
        "ftp://192.0.2.7/x",
        "concat:a|b",
        "pipe:0",
        "data:,x",
        "lavfi:testsrc",
        "rtsp:cam",
        "rtsp://",
        "rtsp://:554/",
        "subfile,,start,0,end,0,,:/etc/passwd",
        "rtsp://192.0.2.7\\@203.0.113.1/",
        "file:",
        "file:?",
        "file://other.example/x",
        "test:x",
        "test://x",
        "",
        "rtsp://ho st/x",
        "rtsp://192.0.2.7/x\n",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Only the schemes of the list are taken, and only when they are whole."""
    with pytest.raises(InvalidUri):
        parse(text)


def test_a_long_uri_is_refused() -> None:
    """A URI has a limit."""
    with pytest.raises(InvalidUri, match=str(URI_MAX_CHARACTERS)):
        parse("rtsp://192.0.2.7/" + "x" * URI_MAX_CHARACTERS)


def test_the_transport_stands_in_the_fragment() -> None:
    """What is ours does not travel to the camera."""
    uri = parse("rtsp://192.0.2.7/cam?channel=1#transport=udp")
    assert uri.transport == "udp"
    assert uri.address == "rtsp://192.0.2.7/cam?channel=1"
    assert parse("rtsp://192.0.2.7/cam").transport is None


@pytest.mark.parametrize(
    ("text", "path", "loop"),
    [
        ("file:/media/clip.mp4", "/media/clip.mp4", None),
        ("file:///media/clip.mp4", "/media/clip.mp4", None),
        ("file://localhost/media/a%20b%3F.mp4?loop=no", "/media/a b?.mp4", False),
        ("file:clips/a.mp4?loop=yes", "clips/a.mp4", True),
    ],
)
def test_file_uris_name_a_path(text: str, path: str, loop: bool | None) -> None:
    """A path may be absolute or relative, escaped, and say whether it loops."""
    uri = parse(text)
    assert (uri.scheme, uri.path, uri.loop) == (Scheme.FILE, Path(path), loop)


def test_the_pattern_has_options() -> None:
    """The pattern's options are read and the others keep their defaults."""
    assert parse("test:").pattern == PatternOptions()
    pattern = parse("test:?size=640x360&rate=29.97&gop=1.5&audio=no").pattern
    assert pattern == PatternOptions(640, 360, Fraction(2997, 100), 1.5, True, False)


@pytest.mark.parametrize(
    "query",
    [
        "size=641x360",
        "size=1x1",
        "size=640",
        "size=9999x9999",
        "rate=0",
        "rate=121",
        "rate=x",
        "rate=1/0",
        "gop=601",
        "gop=-1",
        "audio=maybe",
        "audio=no&video=no",
        "colour=red",
        "rate=25&rate=30",
        "rate",
        "&",
    ],
)
def test_wrong_pattern_options_are_refused(query: str) -> None:
    """An option out of range, unknown, doubled or malformed is an error."""
    with pytest.raises(InvalidUri):
        parse(f"test:?{query}")


def test_untrusted_uris_are_marked() -> None:
    """What did not come from the operator's configuration is known as such when it is opened."""
    assert parse_uri("rtsp://192.0.2.7/cam", trusted=False).trusted is False
    assert parse_uri("file:clip.mp4", trusted=False).trusted is False


@given(st.text(max_size=80))
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    """Nothing but `InvalidUri` comes out of arbitrary text."""
    for prefix in ("", "rtsp://", "file:", "test:?"):
        try:
            parse(prefix + text)
        except InvalidUri:
            continue


_word = st.text("abcXYZ019%:/?#@=&._-", min_size=1, max_size=12)


@given(user=_word, password=_word, host=st.sampled_from(["cam", "192.0.2.7:554", "[::1]"]), path=_word)
def test_redaction_hides_user_and_password(user: str, password: str, host: str, path: str) -> None:
    """Whatever characters user and password have, escaped or not, what is shown has no part of them."""
    shown = redact(f"rtsp://{user}!S3cret{password}@{host}/{path}")
    assert "S3cret" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtmp://operator:secret@192.0.2.7/live/cam", "rtmp://***@192.0.2.7/live/cam"),
        ("rtmps://192.0.2.7:443/live/cam?key=secret", "rtmps://192.0.2.7:443/live/cam?***"),
        ("http://192.0.2.7:8080/cam.m3u8?token=secret", "http://192.0.2.7:8080/cam.m3u8?***"),
        ("HTTPS://cdn.example/cam.ts", "https://cdn.example/cam.ts"),
        ("udp://239.1.2.3:5000", "udp://239.1.2.3:5000"),
        ("udp://[::1]:5000/", "udp://[::1]:5000"),
        ("srt://192.0.2.7:8890?streamid=x&passphrase=secret", "srt://192.0.2.7:8890?***"),
    ],
)
def test_servers_of_every_kind(text: str, shown: str) -> None:
    """Each is a network address, shown without what may be a credential."""
    uri = parse_uri(text, trusted=False)
    assert uri.scheme.is_network
    assert str(uri) == shown


@pytest.mark.parametrize(
    "text",
    [
        "udp://239.1.2.3",
        "udp://239.1.2.3:5000?localaddr=10.0.0.1",
        "udp://239.1.2.3:5000/file",
        "udp://user@239.1.2.3:5000",
        "http:///path",
        "http://192.0.2.7/cam#transport=udp",
        "rtmp://192.0.2.7:0/live/cam",
    ],
)
def test_what_is_wrong_with_them(text: str) -> None:
    """No port, options that are libav's own, no host, a transport where none can be chosen."""
    with pytest.raises(InvalidUri):
        parse_uri(text, trusted=True)
