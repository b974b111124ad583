"""What a publisher sends by RTSP, for libav's own reader of RTSP: a server for one client, on loopback, in a thread.

Theory of operation
-------------------
libav takes RTP apart (packets into pictures, sender reports into clocks) behind RTSP only. So what the door wrote into
the pipe, a description and then packets as RTSP interleaves them, is served again to the reader of this very process:
at a port that nobody knows before, under a name that nobody guesses, to the first who asks for it. The thread ends with
the pipe, or when libav hangs up.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Final

from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.messages import Request, next_message, write_response
from headrace_ingress.rtsp.transport import Interleaved, choose_way

FORMAT: Final = "rtsp"
"""What a file of the pipe is called that holds a description and then packets."""

HEAD_BYTES: Final = 4
"""Length of a description, before it."""

DESCRIPTION_MAX_BYTES: Final = 128 * 1024
"""Longest description: twice what a publisher may send."""

PIECE_BYTES: Final = 64 * 1024
"""Most that is handed over at once."""

ANSWER_SECONDS: Final = 10.0
"""How long libav may take from one request to the next until it plays."""

FOREVER_SECONDS: Final = 1_000_000_000
"""The session's timeout: libav need not show that it lives."""

_SESSION: Final = "1"


def write_description(description: bytes) -> bytes:
    """Return how a description stands in the pipe, before the packets."""
    return len(description).to_bytes(HEAD_BYTES, "big") + description


class RtspReplay:
    """Serves one file of the pipe from `start` to `close`.

    Args:
        read: returns from 1 to so many bytes, nothing at the end; called in the thread.

    Attributes:
        address: for libav.
        failure: what `read` raised, once libav was told the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._name = secrets.token_hex(16)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=4)
        self._listening.settimeout(ANSWER_SECONDS)
        self._client: socket.socket | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="RTSP on loopback", daemon=True)
        self.address = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/{self._name}"
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Hang up; the thread ends once `read` returns."""
        self._is_closed = True
        for one in (self._listening, self._client):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _run(self) -> None:
        try:
            description = self._take_description()
            while not self._is_closed:
                client, _ = self._listening.accept()
                with client:
                    if self._serve(client, description):
                        return
        except OSError:
            pass  # libav hung up, or never came
        except Exception as error:  # the pipe's
            self.failure = error
        finally:
            self._listening.close()

    def _take_description(self) -> bytes:
        length = int.from_bytes(self._exactly(HEAD_BYTES), "big")
        return self._exactly(min(length, DESCRIPTION_MAX_BYTES))

    def _exactly(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            piece = self._read(count - len(taken))
            if not piece:
                raise OSError("the pipe ended")
            taken += piece
        return taken

    def _serve(self, client: socket.socket, description: bytes) -> bool:
        """Serve a client; return whether it was the one that is meant."""
        client.settimeout(ANSWER_SECONDS)
        self._client = client
        buffer = bytearray()
        is_playing = False
        while not is_playing:
            if not (data := client.recv(4096)):
                return False
            buffer += data
            try:
                while isinstance(request := next_message(buffer), Request):
                    if self._name not in request.url:
                        return False
                    client.sendall(answer(request, description))
                    is_playing = is_playing or request.method == "PLAY"
            except RtspError:
                return False
        self._listening.close()
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pass_on(client)
        return True

    def _pass_on(self, client: socket.socket) -> None:
        try:
            while data := self._read(PIECE_BYTES):
                client.sendall(data)
                with contextlib.suppress(BlockingIOError):  # receiver reports, which nobody wants
                    client.recv(PIECE_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return
        except Exception as error:
            self.failure = error


def answer(request: Request, description: bytes) -> bytes:
    """Return what libav is answered on its way to PLAY. Pure."""
    cseq = request.headers.get("cseq", "")
    session = ("Session", f"{_SESSION};timeout={FOREVER_SECONDS}")
    match request.method:
        case "DESCRIBE":
            base = ("Content-Base", f"{request.url}/")
            return write_response(200, cseq, [("Content-Type", "application/sdp"), base], description)
        case "SETUP":
            way = choose_way(request.headers.get("transport", "").replace("mode=play", ""), may_use_udp=False)
            number = request.url.rpartition("/track")[2]
            if not isinstance(way, Interleaved) or not number.isdecimal() or len(number) > 3:
                return write_response(461, cseq)
            channel = 2 * int(number)
            transport = f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
            return write_response(200, cseq, [("Transport", transport), session])
        case "OPTIONS":
            return write_response(200, cseq, [("Public", "DESCRIBE, SETUP, PLAY")])
        case _:
            return write_response(200, cseq, [session])
