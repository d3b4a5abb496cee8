"""The opening handshake on a connection: asyncio's side of :mod:`picows.handshake`, for clients and for servers."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from picows.deadlines import Deadlines
from picows.errors import WSError
from picows.handshake import (
    ClientHandshake,
    ServerHandshakePolicy,
    check_upgrade_request,
    encode_response,
    encode_switching_protocols,
    switching_protocols,
)
from picows.http11 import HeadError, RequestReader
from picows.http_message import WSUpgradeRequest, WSUpgradeResponse
from picows.listener import WSListener
from picows.options import PICOWS_DEBUG_LL, ConnectionOptions
from picows.protocol import ConnectionProtocol
from picows.transport import WSTransport
from picows.upgrade_request import read_upgrade_request

_MAX_EARLY_BYTES = 65536  # of frames that come before the handshake is answered; then reading pauses


class WSUpgradeResponseWithListener:
    """What a server's listener factory returns to answer with more than a bare 101, or with less.

    Attributes:
        response: The response. A 101 is completed with the headers the handshake needs.
        listener: The listener for the connection, exactly when the status is 101, else None.

    Raises:
        ValueError: A listener without a 101, or a 101 without a listener.
    """

    __slots__ = ("listener", "response")

    def __init__(self, response: WSUpgradeResponse, listener: WSListener | None) -> None:
        if (response.status == 101) != (listener is not None):
            raise ValueError(f"a listener goes with status 101 and with no other, the status is {int(response.status)}")
        self.response = response
        self.listener = listener


ClientListenerFactory = Callable[..., WSListener | Awaitable[WSListener]]
ServerAnswer = WSListener | WSUpgradeResponseWithListener | None
ServerListenerFactory = Callable[[WSUpgradeRequest], ServerAnswer | Awaitable[ServerAnswer]]


def takes_two_arguments(factory: Callable[..., Any]) -> bool:
    """Whether the factory wants the request and the response: it can be called with two positional arguments."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # classes of extension types have none
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    return True


def checked_listener(listener: Any) -> WSListener:
    """The listener, or a TypeError that says what the factory returned instead."""
    if not isinstance(listener, WSListener):
        raise TypeError(f"ws_listener_factory must return a WSListener, not {type(listener).__name__}")
    return listener


class _Opening(ConnectionProtocol, asyncio.BufferedProtocol):
    """A connection whose factory may take its time: bytes that arrive meanwhile wait, up to a bound."""

    __slots__ = ("_is_held", "_rest", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, options: ConnectionOptions, *, is_client_side: bool) -> None:
        ConnectionProtocol.__init__(self, loop, options, is_client_side=is_client_side)
        self._task: asyncio.Future[Any] | None = None
        self._rest = b""
        self._is_held = False

    def _hold(self, data: bytes) -> None:
        """Keep early frames, but read on: only so is it noticed when the peer leaves."""
        self._rest += data
        if len(self._rest) > _MAX_EARLY_BYTES and not self._is_held:
            self._is_held = True
            self.pause_peer()

    def _release(self) -> None:
        if self._is_held:
            self._is_held = False
            self.resume_peer()

    def _await(self, awaitable: Awaitable[Any], then: Callable[[asyncio.Future[Any]], None]) -> None:
        self._task = asyncio.ensure_future(awaitable, loop=self.loop)
        self._task.add_done_callback(then)

    def _stop_waiting(self) -> None:
        if self._task is not None:
            self._task.cancel()


class ClientProtocol(_Opening):
    """The client's side of one connection."""

    __slots__ = ("_factory", "_handshake", "_opened")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        handshake: ClientHandshake,
        listener_factory: ClientListenerFactory,
    ) -> None:
        super().__init__(loop, options, is_client_side=True)
        self._handshake = handshake
        self._factory = listener_factory
        self._opened: asyncio.Future[tuple[WSTransport, WSListener]] = loop.create_future()

    async def opened(self) -> tuple[WSTransport, WSListener]:
        """Wait for the end of the opening handshake.

        Raises:
            WSHandshakeError: The server's answer is no WebSocket handshake, or a refusal.
            OSError: The connection was lost before.
        """
        opened = self._opened
        try:
            return await opened
        finally:
            # The result would keep the connection's objects for as long as a transport keeps this one.
            self._opened = self.loop.create_future()
            self._opened.cancel()

    def handshake_started(self) -> None:
        """Send the request."""
        self.options.logger.log(PICOWS_DEBUG_LL, "send upgrade request: %s", self._handshake.request)
        self.write_handshake(self._handshake.request_bytes)

    def handshake_received(self, data: bytes) -> None:
        """Feed the response."""
        if self._task is not None:
            self._hold(data)
            return
        try:
            if not self._handshake.feed(data):
                return
            self._rest = self._handshake.rest
            request, response = self._handshake.request, self._handshake.response
            self.options.logger.log(PICOWS_DEBUG_LL, "received upgrade response: %s", response)
            made = self._factory(request, response) if takes_two_arguments(self._factory) else self._factory()
        except Exception as exc:  # the server's answer, or the user's factory: both are the caller's to see
            self._refuse(exc)
            return
        if inspect.isawaitable(made):
            self._await(made, self._listener_awaited)
        else:
            self._accept(made)

    def _listener_awaited(self, task: asyncio.Future[Any]) -> None:
        self._task = None
        if task.cancelled():
            self._refuse(ConnectionAbortedError("the connection ended while the listener factory was awaited"))
        elif (exc := task.exception()) is not None:
            self._refuse(exc)
        elif self.is_opening:
            self._release()
            self._accept(task.result())

    def _accept(self, listener: Any) -> None:
        try:
            checked_listener(listener)
        except TypeError as exc:
            self._refuse(exc)
            return
        rest, self._rest = self._rest, b""
        handshake = self._handshake
        transport = self.start(handshake.request_bytes, handshake.response_bytes, listener, rest)
        if not self._opened.done():
            self._opened.set_result((transport, listener))

    def _refuse(self, exc: BaseException) -> None:
        if not self._opened.done():
            self._opened.set_exception(exc)
            self._opened.exception()  # whoever cancelled the wait does not need a second report
        self.abort()

    def handshake_ended(self, exc: Exception | None) -> None:
        """The server hung up."""
        self._stop_waiting()
        if self._opened.done():
            return
        if exc is not None:
            self._refuse(exc)
            return
        try:
            self._handshake.eof()
        except WSError as error:
            self._refuse(error)


class ServerProtocol(_Opening):
    """The server's side of one connection."""

    __slots__ = ("_accepted_at", "_deadlines", "_factory", "_head", "_policy", "_reader", "_request")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        policy: ServerHandshakePolicy,
        listener_factory: ServerListenerFactory,
        deadlines: Deadlines[ServerProtocol] | None,
    ) -> None:
        super().__init__(loop, options, is_client_side=False)
        self._accepted_at = 0.0 if deadlines is not None else loop.time()
        self._deadlines = deadlines
        self._policy = policy
        self._factory = listener_factory
        self._reader: RequestReader | None = None  # of a request that came in pieces, or is unusual
        self._request: WSUpgradeRequest | None = None
        self._head = b""

    def handshake_started(self) -> None:
        """Wait for the request, but not for ever: time that TLS took counts."""
        self._policy.client_connected(self.peer)
        if self._deadlines is not None:
            self._deadlines.add(self)
        elif self.options.handshake_timeout is not None:
            left = self.options.handshake_timeout - (self.loop.time() - self._accepted_at)
            self.set_handshake_deadline(max(left, 0), self.timed_out)

    def timed_out(self) -> None:
        """Answer a client that took too long."""
        self.options.logger.info("no WebSocket handshake within %g s", self.options.handshake_timeout)
        self._stop_waiting()
        self._forget_transport()
        self._answer(self._policy.refuse(self._request, 408, "the opening handshake took too long"))

    def handshake_received(self, data: bytes) -> None:
        """Feed the request; answer it when it is complete."""
        if self._request is not None:
            self._hold(data)
            return
        try:
            request = self._read(data)
        except HeadError as exc:
            self.options.logger.info("refused a request: %s", exc)
            self._answer(self._policy.refuse(None, exc.status, str(exc)))
            return
        if request is None:
            return
        self.options.logger.log(PICOWS_DEBUG_LL, "received upgrade request: %s", request)
        request.transport = self.peer
        self._request = request
        try:
            answer = self._factory(request)
        except Exception as exc:  # the user's code
            self._factory_failed(exc)
            return
        if not isinstance(answer, WSListener | WSUpgradeResponseWithListener) and inspect.isawaitable(answer):
            self._await(answer, self._answer_awaited)
        else:
            self._take(answer)

    def _read(self, data: bytes) -> WSUpgradeRequest | None:
        """The request, once its head is complete."""
        limits = self._policy.limits
        if self._reader is None:
            max_size = min(limits.max_line_size, limits.max_head_size)
            request = read_upgrade_request(data, max_size, limits.max_header_count)
            if request is not None:
                self._head = request.head
                self._rest = data[len(request.head) :]
                return request
            self._reader = RequestReader(limits)
        request = self._reader.feed(data)
        if request is not None:
            self._head = self._reader.raw_header
            self._rest = self._reader.rest
            self._reader = None
        return request

    def _answer_awaited(self, task: asyncio.Future[Any]) -> None:
        self._task = None
        if not self.is_opening:
            if not task.cancelled():
                task.exception()  # nobody is there any more to whom it matters
        elif task.cancelled():
            self.abort()
        elif isinstance(exc := task.exception(), Exception):
            self._factory_failed(exc)
        else:
            self._release()
            self._take(task.result())

    def _forget_transport(self) -> None:
        """The factory is done with it: a request that is kept must not keep the connection."""
        if self._request is not None:
            self._request.transport = None

    def _factory_failed(self, exc: Exception) -> None:
        self._forget_transport()
        self.options.logger.error("ws_listener_factory raised", exc_info=exc)
        self._answer(self._policy.refuse(self._request, 500, "the server failed to handle the request"))

    def _take(self, answer: Any) -> None:
        """Do what the factory wants: open, answer otherwise, or nothing is here."""
        self._forget_transport()
        try:
            if answer is None:
                self._answer(self._policy.refuse(self._request, 404, "there is no WebSocket at this path"))
            elif isinstance(answer, WSUpgradeResponseWithListener):
                if answer.listener is None:
                    self._answer(answer.response)
                else:
                    self._open(answer.response, checked_listener(answer.listener))
            else:
                self._open(None, checked_listener(answer))
        except (TypeError, ValueError) as exc:  # what the factory returned cannot be sent
            self._factory_failed(exc)

    def _open(self, response: WSUpgradeResponse | None, listener: WSListener) -> None:
        request = self._request
        assert request is not None
        refusal = check_upgrade_request(request)
        if refusal is not None:
            self.options.logger.info("refused a request: %s", refusal.message)
            self._answer(self._policy.refuse(request, refusal.status, refusal.message, refusal.headers))
            return
        response_bytes = encode_switching_protocols(request, response)
        if self.options.logger.isEnabledFor(PICOWS_DEBUG_LL):
            completed = switching_protocols(request, response)
            self.options.logger.log(PICOWS_DEBUG_LL, "send upgrade response: %s", completed)
        self.write_handshake(response_bytes)
        rest, self._rest = self._rest, b""
        self._request = None
        self._stop_clock()
        self.start(self._head, response_bytes, listener, rest)

    def _answer(self, response: WSUpgradeResponse) -> None:
        """Answer with plain HTTP, and end the connection."""
        self.options.logger.log(PICOWS_DEBUG_LL, "send response: %s", response)
        self.write_handshake(encode_response(response, self._request))
        self._stop_clock()
        self.finish()

    def _stop_clock(self) -> None:
        if self._deadlines is not None:
            self._deadlines.discard(self)

    def handshake_ended(self, exc: Exception | None) -> None:
        """The client hung up."""
        self._stop_clock()
        self._forget_transport()
        self._stop_waiting()
        self.options.logger.log(PICOWS_DEBUG_LL, "the client left during the opening handshake: %r", exc)


def server_protocol_factory(
    loop: asyncio.AbstractEventLoop,
    options: ConnectionOptions,
    policy: ServerHandshakePolicy,
    listener_factory: ServerListenerFactory,
    *,
    is_secure: bool,
) -> Callable[[], ServerProtocol]:
    """What ``create_server`` calls for each connection."""
    deadlines = None
    # With TLS the time begins before the connection is handed over: that is not the order in which they come.
    if options.handshake_timeout is not None and not is_secure:
        deadlines = Deadlines(loop, options.handshake_timeout, ServerProtocol.timed_out)
    return functools.partial(ServerProtocol, loop, options, policy, listener_factory, deadlines)
