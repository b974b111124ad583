"""Delay and loss for packets that netfilter queues (NFQUEUE, linux/netfilter/nfnetlink_queue.h), in their order.

    python -m chaos.delay QUEUE MILLISECONDS LOSS_PERCENT

Not every kernel has `sch_netem`. Runs in the namespace whose packets it holds, until it is ended; prints `ready`.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33
QUEUE_SUBSYSTEM = 3 << 8
PACKET, VERDICT, CONFIG = 0, 1, 2
REQUEST, ACK = 1, 4
BIND, COPY_META = 1, 1
DROP, ACCEPT = 0, 1
PACKETS_MAX = 20_000


def attribute(kind: int, data: bytes) -> bytes:
    """Return a netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(queue: int, kind: int, flags: int, attributes: bytes) -> bytes:
    """Return a message to a queue."""
    body = struct.pack("=BBH", 0, 0, socket.htons(queue)) + attributes
    return struct.pack("=IHHII", 16 + len(body), QUEUE_SUBSYSTEM | kind, flags, 0, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each netlink message in `data`."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        yield kind, data[at + 16 : at + length]
        at += length + 3 & ~3


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and data of each attribute after the four bytes of the queue's header."""
    at = 4
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            return
        yield kind & 0x7FFF, body[at + 4 : at + length]
        at += length + 3 & ~3


def open_queue(queue: int) -> socket.socket:
    """Bind a queue, of which only packet numbers are copied here.

    Raises:
        OSError: when the kernel refuses.
    """
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    netlink.bind((0, 0))
    netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    netlink.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    for setting in (
        attribute(1, struct.pack("=BBH", BIND, 0, 0)),
        attribute(2, struct.pack(">IB", 0, COPY_META)),
        attribute(3, struct.pack(">I", PACKETS_MAX)),
    ):
        netlink.send(message(queue, CONFIG, REQUEST | ACK, setting))
        _, body = next(messages(netlink.recv(65536)))
        if error := struct.unpack_from("=i", body)[0]:
            raise OSError(-error, "the queue's configuration was refused")
    netlink.setblocking(False)
    return netlink


def packets(data: bytes) -> Iterator[int]:
    """Yield the numbers of the packets told in `data`."""
    for kind, body in messages(data):
        if kind == QUEUE_SUBSYSTEM | PACKET:
            yield from (struct.unpack_from(">I", value)[0] for name, value in attributes(body) if name == 1)


def hold(netlink: socket.socket, queue: int, seconds: float, loss: float) -> None:
    """Hold each packet for `seconds` and lose a share of them, for ever."""
    waiting: deque[tuple[float, int]] = deque()

    def decide(packet: int, verdict: int) -> None:
        netlink.send(message(queue, VERDICT, REQUEST, attribute(2, struct.pack(">II", verdict, packet))))

    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            decide(waiting.popleft()[1], ACCEPT)
        if not select.select([netlink], [], [], max(0.0, waiting[0][0] - now) if waiting else None)[0]:
            continue
        for packet in packets(netlink.recv(1 << 20)):
            if random.random() < loss:
                decide(packet, DROP)
            else:
                waiting.append((time.monotonic() + seconds, packet))


def main() -> None:
    """Hold packets until ended."""
    queue = int(sys.argv[1])
    netlink = open_queue(queue)
    print("ready", flush=True)
    hold(netlink, queue, float(sys.argv[2]) / 1000, float(sys.argv[3]) / 100)


if __name__ == "__main__":
    main()
