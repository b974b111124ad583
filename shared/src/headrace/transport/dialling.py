"""Dialling another node: TCP, TLS where the URL says so, and the WebSocket handshake."""

from __future__ import annotations

import asyncio
import ssl

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from headrace.errors import reason
from headrace.telemetry.masking import mask_uris
from headrace.transport.channel import Channel, quiet_logger
from headrace.transport.turns import prefer

DIAL_SECONDS = 3.0
"""How long dialling may take in all: some round trips around the world, and a lost packet; viewers wait meanwhile."""


class DialError(Exception):
    """A node could not be reached, or what answered there is none.

    Attributes:
        code: a short word for metrics: `unreachable`, `timeout`, `certificate`, `handshake`, `subprotocol`, `bad_url`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


async def dial(
    url: str,
    subprotocol: str,
    *,
    max_size: int,
    send_limit_bytes: int,
    tls: ssl.SSLContext | None = None,
    timeout: float = DIAL_SECONDS,
    address: str | None = None,
) -> Channel:
    """Connect to `url` and return the open channel; attach a receiver to it next.

    Cancelling leaves nothing open.

    Args:
        url: `ws://` or `wss://`.
        subprotocol: what both sides must speak.
        max_size: longest message taken, in bytes.
        send_limit_bytes: see `Channel`.
        tls: for `wss://` instead of the system's trust store.
        timeout: for everything, in seconds.
        address: the IP address to connect to, where the one that the URL's name leads to was looked up and checked.

    Raises:
        DialError: when it does not come about; the sentence names the address.
    """
    uri = _parse(url)
    protocol = ClientProtocol(uri, subprotocols=[Subprotocol(subprotocol)], max_size=max_size, logger=quiet_logger())
    context = (tls or ssl.create_default_context()) if uri.secure else None
    connection: _Dialled | None = None
    try:
        async with asyncio.timeout(timeout):
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Dialled(protocol, send_limit_bytes),
                address or uri.host,
                uri.port,
                ssl=context,
                server_hostname=uri.host if context else None,
            )
            prefer(transport)
            await connection.handshake
    except TimeoutError as error:
        raise DialError("timeout", f"{_place(uri)} did not answer within {timeout:g} s") from error
    except ssl.SSLCertVerificationError as error:
        told = error.verify_message.rstrip(".")
        raise DialError("certificate", f"the certificate of {_place(uri)} is not good: {told}") from error
    except OSError as error:
        raise DialError("unreachable", f"cannot connect to {_place(uri)}: {reason(error)}") from error
    except ValueError as error:  # Python encodes the host's name itself, and asks for none that is too long
        raise DialError("unreachable", f"cannot connect to {_place(uri)}: that is no host's name") from error
    except InvalidStatus as error:
        status = error.response.status_code
        raise DialError("handshake", f"{_place(uri)} answered HTTP {status} to the WebSocket handshake") from error
    except (WebSocketException, EOFError) as error:
        raise DialError("handshake", f"{_place(uri)} is no relay: {error}") from error
    finally:
        if connection is not None and not _succeeded(connection.handshake):
            connection.abort()
    if protocol.subprotocol != subprotocol:
        connection.abort()
        raise DialError("subprotocol", f"{_place(uri)} does not speak {subprotocol}")
    return connection


class _Dialled(Channel):
    """A channel that begins with the client's handshake; `handshake` is done when it is."""

    def __init__(self, protocol: ClientProtocol, send_limit_bytes: int) -> None:
        super().__init__(protocol, send_limit_bytes)
        self._client = protocol
        self.handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.handshake.add_done_callback(_succeeded)  # which looks at the exception, should nobody wait any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._client.send_request(self._client.connect())
        self._flush()

    def _take_events(self) -> None:
        super()._take_events()
        if self.handshake.done():
            return
        if self._client.handshake_exc is not None:
            self.handshake.set_exception(self._client.handshake_exc)
        elif self._client.state is not State.CONNECTING:
            self.handshake.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.handshake.done():
            self.handshake.set_exception(exc or EOFError("the connection was closed during the handshake"))


def _succeeded(handshake: asyncio.Future[None]) -> bool:
    return handshake.done() and not handshake.cancelled() and handshake.exception() is None


def _parse(url: str) -> WebSocketURI:
    try:
        return parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise DialError("bad_url", f"{mask_uris(url)}: a relay URL looks like ws://host:port/relay") from error


def _place(uri: WebSocketURI) -> str:
    """Return where `uri` points, without credentials."""
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    return f"{'wss' if uri.secure else 'ws'}://{host}:{uri.port}{uri.path}"
