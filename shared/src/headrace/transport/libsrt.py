"""libsrt, where this machine has it: the few calls that are needed, by ctypes (srt.h of libsrt 1.4 and 1.5).

It is the reference implementation of SRT and there is no wheel of it, so it is taken from the system.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import enum
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_uint32, c_void_p
from typing import Any, Final, NewType

Handle = NewType("Handle", int)
"""A socket of libsrt; not the system's."""

NAMES: Final = ("libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt.so.1.4", "libsrt.1.5.dylib")
"""What systems call it."""

VERSIONS: Final = range(0x010402, 0x020000)
"""Versions with the calls below, as libsrt tells its own: from 1.4.2 on, where reasons to refuse came."""

MESSAGE_MAX_BYTES: Final = 1500
"""Room for one message: in live mode it has at most 1456 bytes."""

STREAMID_BYTES: Final = 513
"""Room for a stream id and the zero behind it."""

_AGAIN: Final = 6000
"""From here on errors mean that a call should be made again later."""

_SILENT: Final = 0
"""Log level: what libsrt says to standard error is told by its return values as well."""

HookFunction = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_void_p, c_char_p)


class Option(enum.IntEnum):
    """SRT_SOCKOPT, the ones that are used."""

    RECEIVE_SYNCHRONOUSLY = 2
    LATENCY = 23
    PASSPHRASE = 26
    STREAMID = 46
    IPV6_ONLY = 54


class State(enum.IntEnum):
    """SRT_SOCKSTATUS."""

    INIT = 1
    OPENED = 2
    LISTENING = 3
    CONNECTING = 4
    CONNECTED = 5
    BROKEN = 6
    CLOSING = 7
    CLOSED = 8
    NONEXISTENT = 9


REFUSED: Final = frozenset({10, 11})
"""SRT_REJECT_REASON of a passphrase that is wrong, or that only one side has."""

ACCESS_REASONS: Final = 1000
"""From here on reasons are those of a listener's access control (SRT's access control guidelines)."""

READABLE: Final = 0x1
FAILED: Final = 0x8
"""SRT_EPOLL_OPT: something to be read or accepted; an error."""


class SrtUnavailable(Exception):
    """There is no libsrt, or none that can be used; the sentence says what to do."""


class SrtError(OSError):
    """A call failed; the number is libsrt's."""


class SrtRefused(SrtError):
    """A listener does not let us in; the number is its reason."""


class _Event(ctypes.Structure):
    _fields_ = (("handle", c_int), ("events", c_int))


class Libsrt:
    """The library, loaded and started; `clean_up` stops it.

    Every call lets other threads run meanwhile.

    Raises:
        SrtUnavailable: when it is missing or of a version that is not known.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._declare()
        version = self._library.srt_getversion()
        if version not in VERSIONS:
            raise SrtUnavailable(f"libsrt {version >> 16}.{version >> 8 & 255} cannot be used: install version 1.5")
        self._library.srt_setloglevel(_SILENT)
        self._message = ctypes.create_string_buffer(MESSAGE_MAX_BYTES)
        if self._library.srt_startup() < 0:
            raise SrtUnavailable(f"libsrt does not start: {self._error()}")

    def clean_up(self) -> None:
        """Stop it."""
        self._library.srt_cleanup()

    # -- sockets --------------------------------------------------------------------------------------------------

    def listen(
        self, family: int, place: tuple[Any, ...], passphrase: str, backlog: int, hook: Any
    ) -> tuple[Handle, int]:
        """Return a socket that listens, and its port.

        Args:
            family, place: of the address, as `socket.getaddrinfo` gives them.
            passphrase: that callers must have, empty for none.
            backlog: most that wait to be accepted.
            hook: made by `hook_function`; to be kept as long as the socket is open.

        Raises:
            SrtError: when it cannot.
        """
        handle = Handle(self._check(self._library.srt_create_socket()))
        try:
            self._set(handle, Option.RECEIVE_SYNCHRONOUSLY, 0)
            if family == socket.AF_INET6:
                self._set(handle, Option.IPV6_ONLY, 1)
            if passphrase:
                self._set_text(handle, Option.PASSPHRASE, passphrase)
            address = pack_address(family, place)
            self._check(self._library.srt_bind(handle, address, len(address)))
            self._check(self._library.srt_listen_callback(handle, hook, None))
            self._check(self._library.srt_listen(handle, backlog))
            buffer, size = ctypes.create_string_buffer(128), c_int(128)
            self._check(self._library.srt_getsockname(handle, buffer, byref(size)))
        except SrtError:
            self.close(handle)
            raise
        return handle, int.from_bytes(buffer.raw[2:4], "big")

    def call(
        self, family: int, place: tuple[Any, ...], streamid: str = "", passphrase: str = "", latency_ms: int = 0
    ) -> Handle:
        """Return a socket that is connected to a listener; blocks for 3 s at the longest.

        Args:
            family, place: as of `listen`.
            streamid, passphrase: told to the listener, and shared with it; empty for none.
            latency_ms: how long lost packets are waited for on either side; 0 for what the listener wants.

        Raises:
            SrtRefused: when the listener does not let us in.
            SrtError: when it is not reached.
        """
        handle = Handle(self._check(self._library.srt_create_socket()))
        try:
            if streamid:
                self._set_text(handle, Option.STREAMID, streamid)
            if passphrase:
                self._set_text(handle, Option.PASSPHRASE, passphrase)
            if latency_ms:
                self._set(handle, Option.LATENCY, latency_ms)
            address = pack_address(family, place)
            if self._library.srt_connect(handle, address, len(address)) < 0:
                error, reason = self._error(), self._library.srt_getrejectreason(handle)
                is_refused = reason in REFUSED or reason >= ACCESS_REASONS
                raise SrtRefused(reason, "the listener refuses") if is_refused else error
        except SrtError:
            self.close(handle)
            raise
        return handle

    def send(self, handle: Handle, message: bytes) -> None:
        """Send a message, waiting for room.

        Raises:
            SrtError: when the connection is over.
        """
        self._check(self._library.srt_sendmsg(handle, message, len(message), -1, 1))

    def accept(self, listener: Handle) -> tuple[Handle, str] | None:
        """Return the next connection and its peer's IP address, `None` when there is none.

        Raises:
            SrtError: when it cannot.
        """
        buffer, size = ctypes.create_string_buffer(128), c_int(128)
        handle = self._library.srt_accept(listener, buffer, byref(size))
        if handle < 0:
            self._check_again()
            return None
        return Handle(handle), unpack_address(buffer.raw)

    def streamid(self, handle: Handle) -> str:
        """Return the stream id that a caller gave.

        Raises:
            SrtError: when it is gone.
        """
        buffer, size = ctypes.create_string_buffer(STREAMID_BYTES), c_int(STREAMID_BYTES)
        self._check(self._library.srt_getsockflag(handle, Option.STREAMID, buffer, byref(size)))
        return buffer.raw[: size.value].decode("utf-8", "replace")

    def receive(self, handle: Handle) -> bytes:
        """Return the next message, nothing when there is none yet.

        Raises:
            SrtError: when the connection is over.
        """
        size = self._library.srt_recvmsg(handle, self._message, MESSAGE_MAX_BYTES)
        if size < 0:
            self._check_again()
            return b""
        if size == 0:
            raise SrtError(0, "the connection is over")
        return ctypes.string_at(self._message, size)

    def state(self, handle: Handle) -> State:
        """Return where a connection is."""
        return State(self._library.srt_getsockstate(handle))

    def set_reject_reason(self, handle: Handle, code: int) -> None:
        """Say why a caller is refused; out of the hook only."""
        self._library.srt_setrejectreason(handle, code)

    def close(self, handle: Handle) -> None:
        """Close a socket."""
        self._library.srt_close(handle)

    # -- waiting --------------------------------------------------------------------------------------------------

    def make_poll(self) -> int:
        """Return a new set of sockets to wait for.

        Raises:
            SrtError: when it cannot.
        """
        return self._check(self._library.srt_epoll_create())

    def watch(self, poll: int, handle: Handle) -> None:
        """Wait for a socket, too.

        Raises:
            SrtError: when it is gone.
        """
        self._check(self._library.srt_epoll_add_usock(poll, handle, byref(c_int(READABLE | FAILED))))

    def unwatch(self, poll: int, handle: Handle) -> None:
        """Wait for it no more."""
        self._library.srt_epoll_remove_usock(poll, handle)

    def wait(self, poll: int, most: int, milliseconds: int) -> list[Handle]:
        """Return up to `most` sockets that are ready or failed, as soon as there is one, or none after a while.

        Raises:
            SrtError: when it cannot.
        """
        events = (_Event * most)()
        count = self._library.srt_epoll_uwait(poll, events, most, milliseconds)
        if count < 0:
            self._check_again()
        return [Handle(event.handle) for event in events[: max(0, min(count, most))]]

    def release_poll(self, poll: int) -> None:
        """Let go of a set."""
        self._library.srt_epoll_release(poll)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _set(self, handle: Handle, option: Option, value: int) -> None:
        self._check(self._library.srt_setsockflag(handle, option, byref(c_int(value)), 4))

    def _set_text(self, handle: Handle, option: Option, text: str) -> None:
        data = text.encode()
        self._check(self._library.srt_setsockflag(handle, option, data, len(data)))

    def _check(self, result: int) -> int:
        if result < 0:
            raise self._error()
        return result

    def _check_again(self) -> None:
        error = self._error()
        if error.errno is None or error.errno < _AGAIN:
            raise error

    def _error(self) -> SrtError:
        number = self._library.srt_getlasterror(None)
        return SrtError(number, self._library.srt_getlasterror_str().decode("utf-8", "replace").lower())

    def _declare(self) -> None:
        socket_call = [c_int, c_void_p, c_int]
        arguments: dict[str, Sequence[Any]] = {
            "srt_bind": socket_call,
            "srt_accept": [c_int, c_void_p, POINTER(c_int)],
            "srt_getsockname": [c_int, c_void_p, POINTER(c_int)],
            "srt_recvmsg": socket_call,
            "srt_connect": socket_call,
            "srt_sendmsg": [*socket_call, c_int, c_int],
            "srt_listen": [c_int, c_int],
            "srt_listen_callback": [c_int, HookFunction, c_void_p],
            "srt_setsockflag": [c_int, c_int, c_void_p, c_int],
            "srt_getsockflag": [c_int, c_int, c_void_p, POINTER(c_int)],
            "srt_setrejectreason": [c_int, c_int],
            "srt_getrejectreason": [c_int],
            "srt_getsockstate": [c_int],
            "srt_close": [c_int],
            "srt_epoll_add_usock": [c_int, c_int, POINTER(c_int)],
            "srt_epoll_remove_usock": [c_int, c_int],
            "srt_epoll_uwait": [c_int, c_void_p, c_int, c_int64],
            "srt_epoll_release": [c_int],
            "srt_getlasterror": [POINTER(c_int)],
            "srt_setloglevel": [c_int],
        }
        for name, types in arguments.items():
            getattr(self._library, name).argtypes = list(types)
        self._library.srt_getversion.restype = c_uint32
        self._library.srt_getlasterror_str.restype = c_char_p


def hook_function(ask: Callable[[Handle, str, str], int]) -> Any:
    """Return what libsrt asks about each caller, in a thread of its own.

    Args:
        ask: gets the socket, the peer's IP address and the stream id; 0 lets it in, -1 refuses it. It may not raise.
    """

    def hook(_opaque: int, handle: int, _version: int, address: int | None, streamid: bytes | None) -> int:
        peer = unpack_address(ctypes.string_at(address, 28)) if address else ""
        return ask(Handle(handle), peer, (streamid or b"").decode("utf-8", "replace"))

    return HookFunction(hook)


def pack_address(family: int, place: tuple[Any, ...]) -> bytes:
    """Return an address as the system's `sockaddr`."""
    host, port = str(place[0]).partition("%")[0], int(place[1])
    # BSD's begin with their length in a byte of its own.
    start = struct.pack("=BB", 28, family) if sys.platform == "darwin" else struct.pack("=H", family)
    if family == socket.AF_INET6:
        scope = int(place[3]) if len(place) > 3 else 0
        return start + struct.pack("!HI", port, 0) + socket.inet_pton(family, host) + struct.pack("=I", scope)
    return start + struct.pack("!H", port) + socket.inet_pton(family, host) + bytes(8)


def unpack_address(data: bytes) -> str:
    """Return the IP address in the system's `sockaddr`, empty where it has none."""
    family = data[1] if sys.platform == "darwin" else int.from_bytes(data[:2], sys.byteorder)
    if family == socket.AF_INET:
        return socket.inet_ntop(family, data[4:8])
    return socket.inet_ntop(family, data[8:24]) if family == socket.AF_INET6 else ""


def _load() -> Any:
    found = ctypes.util.find_library("srt")
    for name in (*NAMES, *([found] if found else [])):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise SrtUnavailable(
        "SRT needs the library libsrt: install the package libsrt1.5-gnutls (Debian, Ubuntu), srt-libs (Fedora), "
        "or srt (Alpine, Arch, Homebrew)"
    )
