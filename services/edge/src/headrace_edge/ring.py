"""One system call for the same bytes to many sockets: io_uring, where the kernel has it and allows it.

Theory of operation
-------------------
An io_uring is a pair of queues in memory shared with the kernel (io_uring(7), io_uring_enter(2)). One entry asks for
one `sendmsg` on one socket. All entries of a fan-out point to the same message header, and that to the batch, so an
entry depends on nothing but its descriptor and is made once; a batch for a thousand viewers is one copy of their
entries into the queue and one call. Each entry carries MSG_DONTWAIT, so everything is done when the call returns and
nothing of ours is in the kernel's hands afterwards.

A container may forbid all of this (Docker does unless told otherwise) and kernels before 6.0 lack a flag: then `Ring`
raises `OSError` and the viewers are sent to one by one (`headrace_edge.spreading`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Sequence

ENTRIES = 1024
"""Sends in one call; a power of two. Beyond it a call costs nothing to speak of for each."""

NOT_ASKED = -(2**31)
"""Stands for the answer of a socket that gave none: nobody knows whether it took anything."""

_SETUP, _ENTER = 425, 426  # the same numbers on every architecture
_CLAMP, _SUBMIT_ALL, _COOP_TASKRUN, _SINGLE_ISSUER = 1 << 4, 1 << 7, 1 << 8, 1 << 12
_GETEVENTS = 1
_SENDMSG = 9
_FLAGS = 0x40 | 0x4000  # MSG_DONTWAIT | MSG_NOSIGNAL
_QUEUE_OFFSET, _ENTRIES_OFFSET = 0, 0x10000000
_ENTRY = struct.Struct("<BBHiQQIIQHHIQQ")
"""struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, msg_flags, user_data, and what sends do not use."""

_NUMBERS = 1 << 32


class Ring:
    """One io_uring, for sends of one thread.

    Attributes:
        is_broken: the kernel refused something that it should take; do not use it any more.

    Raises:
        OSError: when there is none to be had.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        parameters = (ctypes.c_uint32 * 30)()  # struct io_uring_params
        parameters[2] = _CLAMP | _SUBMIT_ALL | _COOP_TASKRUN | _SINGLE_ISSUER
        self._descriptor = int(self._call(_SETUP, ENTRIES, ctypes.byref(parameters)))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            self._map([int(number) for number in parameters])
        except (OSError, ValueError) as error:
            os.close(self._descriptor)
            raise OSError(f"its queues cannot be mapped: {error}") from error
        self._vector = (ctypes.c_uint64 * 2)()  # struct iovec
        self._header = (ctypes.c_uint64 * 7)(0, 0, ctypes.addressof(self._vector), 1)  # struct msghdr

    def _map(self, parameters: list[int]) -> None:
        """Map the queues and find their heads and tails (struct io_sqring_offsets, io_cqring_offsets)."""
        self._size, answers = parameters[0], parameters[1]
        asked, answered = parameters[10:20], parameters[20:30]
        length = max(asked[6] + 4 * self._size, answered[5] + 16 * answers)
        flags, access = mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE
        self._queues = mmap.mmap(self._descriptor, length, flags, access, offset=_QUEUE_OFFSET)
        entries_bytes = self._size * _ENTRY.size
        self._entries = mmap.mmap(self._descriptor, entries_bytes, flags, access, offset=_ENTRIES_OFFSET)
        self._words = memoryview(self._queues).cast("I")
        self._tail, self._head, self._answered = asked[1] // 4, answered[0] // 4, answered[1] // 4
        for number in range(self._size):
            self._words[asked[6] // 4 + number] = number
        whole = memoryview(self._queues)
        self._answers = whole[answered[5] : answered[5] + 16 * answers].cast("i")
        self._answers_size = answers

    def entry(self, descriptor: int) -> bytes:
        """Return the queue entry for one socket; good for any batch."""
        header = ctypes.addressof(self._header)
        return _ENTRY.pack(_SENDMSG, 0, 0, descriptor, 0, header, 1, _FLAGS, descriptor, 0, 0, 0, 0, 0)

    def send(self, blocks: Sequence[bytes], data: bytes) -> dict[int, int]:
        """Send `data` on the sockets of `blocks`, each the joined entries of up to `ENTRIES` sockets.

        Returns, by descriptor, what sockets took that did not take everything: bytes, an error number below 0, or
        `NOT_ASKED`, after which the ring is broken.
        """
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        self._vector[0], self._vector[1] = address, len(data)
        late: dict[int, int] = {}
        for block in blocks:
            late |= self._send_block(block, len(data))
        return late

    def close(self) -> None:
        """Give it back."""
        self._words.release()
        self._answers.release()
        self._queues.close()
        self._entries.close()
        os.close(self._descriptor)

    def _send_block(self, block: bytes, size: int) -> dict[int, int]:
        count = len(block) // _ENTRY.size
        tail = self._words[self._tail]
        begin = tail % self._size
        fits = min(count, self._size - begin) * _ENTRY.size
        at = begin * _ENTRY.size
        self._entries[at : at + fits] = block[:fits]
        if fits < len(block):
            self._entries[: len(block) - fits] = block[fits:]
        self._words[self._tail] = (tail + count) % _NUMBERS
        self._call(_ENTER, self._descriptor, count, count, _GETEVENTS, None, 0)
        done = (self._words[self._answered] - self._words[self._head]) % _NUMBERS
        if done == count:
            return self._take(count, size)[1]
        self.is_broken = True
        answered, late = self._take(min(done, count), size, everybody=True)
        asked = (_ENTRY.unpack_from(block, at)[3] for at in range(0, len(block), _ENTRY.size))
        return late | dict.fromkeys((descriptor for descriptor in asked if descriptor not in answered), NOT_ASKED)

    def _take(self, count: int, size: int, *, everybody: bool = False) -> tuple[list[int], dict[int, int]]:
        """Take the answers of `count` sends from the queue.

        Returns the descriptors that answered, if that is wanted for `everybody`, and the answers that are not `size`.
        """
        head = self._words[self._head]
        answered: list[int] = []
        late: dict[int, int] = {}
        at, left = head % self._answers_size, count
        while left:
            some = min(left, self._answers_size - at)
            answers = self._answers[4 * at : 4 * (at + some)]  # user_data in two words, result, flags
            if everybody or (results := answers[2::4].tolist()).count(size) != some:
                results, descriptors = answers[2::4].tolist(), answers[0::4].tolist()
                answered += descriptors
                late |= {of: took for of, took in zip(descriptors, results, strict=True) if took != size}
            at, left = 0, left - some
        self._words[self._head] = (head + count) % _NUMBERS
        return answered, late
