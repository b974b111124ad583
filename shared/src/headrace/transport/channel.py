"""A WebSocket as a channel of binary messages: the asyncio shell around websockets' own sans-I/O protocol.

Reading and writing are synchronous: a message is handed on in the very turn of the event loop that its last byte came
in, and nothing waits for a task to be woken. Whoever dialled (`headrace.transport.dialling`) and whoever accepted
(`headrace.transport.accepting`) get the same `Channel`; they differ in who masks its frames, which only a client must.

Back-pressure is a question and not a wait: `writable` says whether the bytes handed over are below the limit, and the
user is told when they are again. The limit is small, and the kernel is told to take little that it cannot send at once
(TCP_NOTSENT_LOWAT), because what waits there is in front of every later heartbeat.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

CLOSE_SECONDS = 1.0
"""How long a peer may take to answer our close before the connection is cut: it may be gone."""

KERNEL_UNSENT_BYTES = 128 * 1024
"""What the kernel takes beyond what it can send at once (TCP_NOTSENT_LOWAT): enough for 10 Gbit/s at one wake-up
each 100 µs, and at 10 Mbit/s a tenth of a second in front of a heartbeat."""

JOIN_MAX_BYTES = 64 * 1024
"""Largest message that is copied to leave in one write with its header: below it, a second system call costs more."""

BACKLOG_MAX_BYTES = 4 * 1024 * 1024
"""Most bytes beyond the send limit that may be unsent: control messages are small, and a peer that makes us answer more
than that without reading is cut off. The pongs to a WebSocket's own pings count as well."""

ABNORMAL = 1006
"""Close code for a connection that ended without one."""

TOO_SLOW = 1008
"""Close code for a peer that does not read; it never gets it, but our log does."""

MESSAGE_TOO_LARGE = 1009
"""Close code for a message beyond what `Channel.allow` said."""

PROTOCOL_ERROR = 1002
"""Close code for a peer that does not follow the protocol."""


class Receiver(Protocol):
    """The user of a channel. None of these may raise or block."""

    def message_received(self, message: bytes) -> None:
        """A whole binary message came."""

    def bytes_received(self) -> None:
        """Something came, perhaps only a part of a message."""

    def became_writable(self) -> None:
        """What was handed over has left, down to a quarter of the limit."""

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None:
        """The connection is over; called once, last. `by_peer`: the other side closed it, or it broke."""


class Channel(asyncio.Protocol):
    """One open WebSocket.

    Args:
        protocol: websockets' state of it, open or about to be.
        send_limit_bytes: bytes handed over and not taken by the kernel beyond which `writable` is False.

    Attributes:
        writable: whether more media should be handed over now.
        closing: our close has left, or the connection is over.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol, send_limit_bytes: int) -> None:
        self.writable = True
        self.closing = False
        self._protocol = protocol
        self._masks = isinstance(protocol, ClientProtocol)
        self._send_limit_bytes = send_limit_bytes
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._fragments: list[bytes] = []
        self._close_timer: asyncio.TimerHandle | None = None
        self._own_close: tuple[int, str] | None = None
        self._closed = asyncio.Event()
        self._early: list[bytes] = []

    # -- for the user ------------------------------------------------------------------------------

    def attach(self, receiver: Receiver) -> None:
        """Hand everything to `receiver` from now on, what came before included."""
        self._receiver = receiver
        early, self._early = self._early, []
        for message in early:
            receiver.message_received(message)
        if self._closed.is_set():
            receiver.channel_closed(*self._end())

    def send(self, messages: Iterable[bytes]) -> None:
        """Send binary messages, in order; does nothing once the channel closes."""
        if self._takes_nothing():
            return
        for message in messages:
            self._protocol.send_binary(message)
        self._flush()
        self._bound_backlog()

    def send_shared(self, parts: Iterable[tuple[bytes, bytes]]) -> int:
        """Send messages that are each a prefix and a body; return their bytes.

        The body is not copied, nor masked where we accepted the connection, so that many channels share it.
        """
        if self._takes_nothing() or self._transport is None:
            return 0
        if self._masks:
            return self._send_masked(parts)
        total = 0
        buffers: list[bytes] = []
        for prefix, body in parts:
            head = frame_header(len(prefix) + len(body)) + prefix
            total += len(head) + len(body)
            if len(body) <= JOIN_MAX_BYTES:
                buffers += (head, body)
                continue
            buffers.append(head)
            self._transport.writelines(buffers)
            self._transport.write(body)
            buffers = []
        if buffers:
            self._transport.writelines(buffers)
        return total

    def close(self, code: int, reason: str, *, reads: bool = True) -> None:
        """Begin the closing handshake; a second call does nothing.

        The connection is cut if the peer does not answer within `CLOSE_SECONDS`. Without `reads` nothing more is read
        from it, its answer neither: for a peer that sends more than it may.
        """
        if self.closing:
            return
        if not reads and self._transport is not None:
            self._transport.pause_reading()
        self.closing = True
        self._own_close = (code, reason)
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
        self._flush()
        self._arm_close_timer()

    def abort(self) -> None:
        """Cut the connection now."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    def allow(self, max_size: int) -> None:
        """Take messages of up to `max_size` bytes from now on."""
        self._protocol.max_message_size = max_size

    async def wait_closed(self) -> None:
        """Wait until the connection is over."""
        await self._closed.wait()

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over that the kernel has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def peer(self) -> str:
        """The address of the other side, for the log."""
        return _address_text(None if self._transport is None else self._transport.get_extra_info("peername"))

    @property
    def is_loopback(self) -> bool:
        """Whether both ends are on this machine."""
        if self._transport is None:
            return False
        ends = (self._transport.get_extra_info("peername"), self._transport.get_extra_info("sockname"))
        return all(_is_loopback(end) for end in ends)

    # -- for the event loop ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an open transport."""
        self._transport = transport = cast(asyncio.Transport, transport)  # other event loops bring classes of their own
        transport.set_write_buffer_limits(high=self._send_limit_bytes)
        prepare_socket(transport)

    def data_received(self, data: bytes) -> None:
        """Parse bytes and hand on what they complete."""
        if self._receiver is not None:
            self._receiver.bytes_received()
        self._protocol.receive_data(data)
        self._take_events()
        self._after_receiving()

    def eof_received(self) -> None:
        """Note that the peer sends nothing more; the transport closes itself."""
        self._protocol.receive_eof()
        self._after_receiving()

    def pause_writing(self) -> None:
        """Note that the limit was passed."""
        self.writable = False

    def resume_writing(self) -> None:
        """Tell the user that there is room again."""
        self.writable = True
        if self._receiver is not None and not self.closing:
            self._receiver.became_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the user that it is over."""
        self.closing = True
        self.writable = False
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._protocol.receive_eof()
        self._closed.set()
        if self._receiver is not None:
            self._receiver.channel_closed(*self._end())

    # -- inside ------------------------------------------------------------------------------------

    def _takes_nothing(self) -> bool:
        """Return whether nothing can be sent any more; the peer's close may have been read before our user knows."""
        return self.closing or self._transport is None or self._protocol.state is not State.OPEN

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self.close(PROTOCOL_ERROR, "text_message")
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            if frame.data:
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                message = self._fragments[0] if len(self._fragments) == 1 else b"".join(self._fragments)
                self._fragments = []
                self._hand_on(message)

    def _hand_on(self, message: bytes) -> None:
        if self.closing:
            return
        if self._receiver is None:
            self._early.append(message)
        else:
            self._receiver.message_received(message)

    def _bound_backlog(self) -> None:
        if self.buffered_bytes > self._send_limit_bytes + BACKLOG_MAX_BYTES:
            self._own_close = self._own_close or (TOO_SLOW, "too_slow")
            self.abort()

    def _after_receiving(self) -> None:
        self._flush()
        self._bound_backlog()
        if self._protocol.close_expected():
            self.closing = True
            self._arm_close_timer()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        data = self._protocol.data_to_send()
        if len(data) > 1 and data[-1]:
            data = [b"".join(data)]
        for part in data:
            if part:
                transport.write(part)
            else:
                transport.close()  # the closing handshake is done: what is buffered leaves first

    def _send_masked(self, parts: Iterable[tuple[bytes, bytes]]) -> int:
        total = 0
        for prefix, body in parts:
            self._protocol.send_binary(prefix + body)
            total += len(prefix) + len(body)
        self._flush()
        return total

    def _arm_close_timer(self) -> None:
        if self._close_timer is None and not self._closed.is_set():
            self._close_timer = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def _end(self) -> tuple[int, str, bool]:
        """Return the close code and reason, the peer's, else ours, else 1006; and whether the peer's side ended it."""
        received = self._protocol.close_rcvd
        if self._own_close is not None and (received is None or not self._protocol.close_rcvd_then_sent):
            return *self._own_close, False
        if received is not None:
            return received.code, received.reason, True
        sent = self._protocol.close_sent  # websockets closed by itself: broken frames
        return (ABNORMAL, "connection lost", True) if sent is None else (sent.code, sent.reason, False)


def frame_header(length: int) -> bytes:
    """Return the header of an unmasked binary frame, final, of `length` bytes (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((0x82, length))
    if length < 65_536:
        return struct.pack(">BBH", 0x82, 126, length)
    return struct.pack(">BBQ", 0x82, 127, length)


def quiet_logger() -> logging.Logger:
    """Return a logger for websockets that says nothing of openings and closings: links log their own life."""
    return logging.Logger("headrace.websocket", logging.WARNING)


def prepare_socket(transport: asyncio.Transport) -> None:
    """Have small messages leave at once, and little wait in the kernel."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES)


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    try:
        parsed = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _address_text(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
        return f"{host}:{address[1]}"
    return str(address or "?")
