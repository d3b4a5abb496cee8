"""Messages of a feed, across reconnections: `subscribe`.

States: CONNECTING until a connection is open and `on_open` has returned, OPEN while it brings messages, BACKING_OFF
from its end, or that of a failed attempt, to the next attempt; CLOSED for good. The task that iterates moves them, and
`aclose()`. Nothing runs in the background: attempts are made inside `__anext__()`, and end with it.

The module is not named `subscribe`: as an attribute of the package, that is the class.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload

from picows_aio.arguments import check_plain_function, check_seconds
from picows_aio.client import ClientConnection
from picows_aio.exceptions import ConcurrencyError, ConnectionClosed, InvalidState
from picows_aio.opener import Opener
from picows_aio.outage import Gap, Outages
from picows_aio.persistence import Persistence, SubscriptionFailed, show_error
from picows_aio.staleness import StaleError, StaleWatch
from picows_aio.typing import Data, DataLike

__all__ = ["Gap", "StaleError", "SubscriptionFailed", "SubscriptionState", "subscribe"]

_PROVEN_AFTER = 60.0  # seconds open after which a connection counts as a success, though it brought no message
_Item_co = TypeVar("_Item_co", covariant=True)


class SubscriptionState(enum.Enum):
    """What a subscription is doing."""

    CONNECTING = "connecting"
    """An attempt to connect is under way, or the first has not begun."""
    OPEN = "open"
    """There is a connection, and it brings messages."""
    BACKING_OFF = "backing off"
    """There is no connection; the next attempt waits for its time."""
    CLOSED = "closed"
    """It was closed, gave up or met a fatal error; there will be no other connection."""


class subscribe(Generic[_Item_co]):
    """Subscribe to a feed: messages across reconnections.

    Iterate over it; `anext()` gives single messages. As an asynchronous context manager it closes itself at the end of
    the block, and iterations may be left and begun again inside. Otherwise the end of an iteration closes it, or
    :meth:`aclose`. Nothing happens before the first message is asked for. A cancelled iteration loses no message; an
    attempt to connect is given up.

    The connection is replaced whenever it ends, also by a close with 1000. Each attempt waits for its delay. Delays
    begin anew when a connection has proved itself, by a message or by lasting a minute; until then it counts as a
    failed attempt.

    Args:
        uri: As for :class:`connect`.
        on_open: Called with each new :class:`ClientConnection` before its messages are handed out, to send what the
            server must be told; a function or a coroutine function. It may receive, for example an answer. It has
            ``open_timeout`` seconds of its own; when it fails, so has the attempt.
        stale_after: Seconds without data after which the connection is dropped and replaced, whatever the pings say; up
            to an eighth more may pass. Messages that wait to be received, and parts of one, are data. None: never.
        gaps: "log" counts gaps and logs them as warnings; "yield" puts a :class:`Gap` in its place between the
            messages, and logs at INFO.
        on_gap: Called with each :class:`Gap` when it ends, before the messages that follow; a plain function. The
            iteration raises its exceptions.
        on_state: Called with each :class:`SubscriptionState`; likewise.
        max_attempts: Failed attempts in a row after which to give up; None: no limit.
        give_up_after: Seconds in a row, spent in the iteration without a connection, after which to give up; None: no
            limit.
        **connect_options: Keywords of :class:`connect`, but not ``sock``. ``process_exception`` decides about all that
            fails or ends: connecting, ``on_open``, and connections, by the ConnectionClosed or the StaleError. The
            default of ``reconnect_delays`` is :func:`backoff` with each delay times a random factor from a half to 1.

    Attributes:
        uri: As given.
        logger: Where states and gaps are logged: that of :class:`connect`.

    Raises:
        SubscriptionFailed: From the iteration: it gave up by ``max_attempts``, ``give_up_after`` or the end of
            ``reconnect_delays``.
        ConcurrencyError: From the iteration: another task iterates.
        RuntimeError: From the iteration: the subscription was closed before.
        Exception: From the iteration: what ``process_exception`` says is fatal.
        ValueError, TypeError, InvalidURI: An argument is wrong.
    """

    @overload
    def __init__(
        self: subscribe[Data],
        uri: str,
        *,
        on_open: Callable[[ClientConnection], object] | None = None,
        stale_after: float | None = None,
        gaps: Literal["log"] = "log",
        on_gap: Callable[[Gap], object] | None = None,
        on_state: Callable[[SubscriptionState], object] | None = None,
        max_attempts: int | None = None,
        give_up_after: float | None = None,
        **connect_options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: subscribe[Data | Gap],
        uri: str,
        *,
        on_open: Callable[[ClientConnection], object] | None = None,
        stale_after: float | None = None,
        gaps: Literal["yield"],
        on_gap: Callable[[Gap], object] | None = None,
        on_state: Callable[[SubscriptionState], object] | None = None,
        max_attempts: int | None = None,
        give_up_after: float | None = None,
        **connect_options: Any,
    ) -> None: ...

    def __init__(
        self,
        uri: str,
        *,
        on_open: Callable[[ClientConnection], object] | None = None,
        stale_after: float | None = None,
        gaps: Literal["log", "yield"] = "log",
        on_gap: Callable[[Gap], object] | None = None,
        on_state: Callable[[SubscriptionState], object] | None = None,
        max_attempts: int | None = None,
        give_up_after: float | None = None,
        **connect_options: Any,
    ) -> None:
        if gaps not in ("log", "yield"):
            raise ValueError(f'gaps must be "log" or "yield", not {gaps!r}')
        check_seconds("stale_after", stale_after)
        check_plain_function("on_state", on_state)
        self._opener = Opener(uri, connect_options, on_open)
        model = self._opener.model
        self.uri = uri
        self.logger = model.logger
        self._name = f"subscription to {self._opener.name}"
        self._persistence = Persistence(model.process_exception, model.reconnect_delays, max_attempts, give_up_after)
        self._yields_gaps = gaps == "yield"
        level = logging.INFO if self._yields_gaps else logging.WARNING
        self._outages = Outages(self._name, model.logger, level, on_gap)
        self._stale_after = stale_after
        self._on_state = on_state
        self._state = SubscriptionState.CONNECTING
        self._is_entered = False
        self._failure: Exception | None = None  # what ended the subscription
        self._connection: ClientConnection | None = None
        self._opened_at = 0.0  # as of the loop's clock
        self._is_proven = False
        self._watch: StaleWatch | None = None  # of this connection, or the last
        self._gap: Gap | None = None  # to be yielded next
        self._retry_at = 0.0  # as of the loop's clock
        self._scope: asyncio.Timeout | None = None  # of the attempts under way
        self._settled = asyncio.Event()  # no attempts are under way
        self._settled.set()

    @property
    def state(self) -> SubscriptionState:
        """What it is doing."""
        return self._state

    @property
    def connection(self) -> ClientConnection | None:
        """The connection that brings the messages, or None; receiving from it is for the iteration."""
        return self._connection

    @property
    def gaps(self) -> int:
        """How many gaps there were."""
        return self._outages.count

    @property
    def attempts(self) -> int:
        """Attempts that failed since a connection proved itself."""
        return self._persistence.failed_attempts

    @property
    def last_error(self) -> Exception | None:
        """Why the latest attempt failed or the latest connection ended; None as long as nothing went wrong."""
        return self._persistence.last_error

    async def send(
        self,
        message: DataLike | Iterable[DataLike] | AsyncIterable[DataLike],
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message on the connection of the moment.

        The next connection knows nothing of it: what the server must be told each time is for ``on_open``.

        Args:
            message: As for ``send()`` of a connection.
            text: Likewise.
            compress: Likewise.

        Raises:
            InvalidState: There is no connection.
            ConnectionClosed: The connection is closed or closing.
            TypeError: The message has another type; nothing was sent.
        """
        if self._connection is None or self._state is not SubscriptionState.OPEN:
            raise InvalidState(f"{self._name} is {self._state.value}: there is no connection to send on")
        await self._connection.send(message, text=text, compress=compress)

    # Iterating

    async def __aiter__(self) -> AsyncIterator[_Item_co]:
        # A generator costs less for each message than calls of __anext__() would.
        self._check_usable()
        closes = not self._is_entered
        try:
            while True:
                item = await self.__anext__()
                connection, watch = self._connection, self._watch
                assert connection is not None
                assert watch is not None
                receive: Callable[[], Any] = connection.recv
                yield item
                if isinstance(item, Gap):
                    continue
                try:
                    while True:
                        item = await receive()
                        watch.has_news = True
                        yield item
                except ConnectionClosed:
                    continue  # __anext__() meets it as well, and deals with it
        except StopAsyncIteration:
            return
        except ConcurrencyError:
            closes = False  # the iteration of another task goes on
            raise
        finally:
            if closes:
                await self.aclose()

    async def __anext__(self) -> _Item_co:
        if self._connection is None:
            self._check_usable()
        while (connection := self._connection or await self._connect()) is not None:
            if self._gap is not None:
                gap, self._gap = self._gap, None
                return cast(_Item_co, gap)
            try:
                message = await connection.recv()
            except ConnectionClosed as exc:
                self._lost(exc)
            else:
                self._prove()
                return cast(_Item_co, message)
        raise StopAsyncIteration

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._state is SubscriptionState.CLOSED:
            raise RuntimeError(f"{self._name} is closed: subscribe anew")

    # Closing

    async def __aenter__(self) -> Self:
        self._check_usable()
        if self._is_entered:
            raise RuntimeError(f"{self._name} was entered already: subscribe anew")
        self._is_entered = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, or give up the attempt to get one; safe to repeat.

        An iteration in another task ends, after the messages that were received before.
        """
        try:
            self._set_state(SubscriptionState.CLOSED)
        finally:
            if self._scope is not None and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())
            await self._settled.wait()
            self._stop_watching()
            if self._connection is not None:
                await self._connection.close()

    # Connecting

    async def _connect(self) -> ClientConnection | None:
        """Try until there is a connection; None if the subscription was closed meanwhile."""
        if not self._settled.is_set():
            raise ConcurrencyError(f"{self._name}: another task iterates, and waits for a connection")
        self._settled.clear()
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            # aclose() moves the deadline to the present.
            async with asyncio.timeout(self._persistence.seconds_left) as self._scope:
                while self._connection is None and self._state is not SubscriptionState.CLOSED:
                    await asyncio.sleep(max(0.0, self._retry_at - loop.time()))
                    await self._attempt()
        except TimeoutError:
            if self._scope is None or not self._scope.expired():
                raise
            if self._state is not SubscriptionState.CLOSED:
                raise self._end(self._persistence.give_up_in_time()) from self.last_error
        finally:
            self._scope = None
            self._persistence.spent(loop.time() - began_at)
            self._settled.set()
        return self._connection

    async def _attempt(self) -> None:
        self._set_state(SubscriptionState.CONNECTING)
        self._outages.attempt()
        try:
            connection = await self._opener.open()
        except Exception as exc:  # process_exception decides which are fatal
            self.logger.debug("%s: the attempt failed", self._name, exc_info=exc)
            self._failed(exc)
            return
        if self._state is not SubscriptionState.CLOSED:
            self._opened(connection)
        else:
            self._opener.drop(connection, None)

    def _opened(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._opened_at = asyncio.get_running_loop().time()
        self._watch = StaleWatch(connection, self._stale_after)
        gap = self._outages.end()
        if self._yields_gaps:
            self._gap = gap
        self._set_state(SubscriptionState.OPEN)
        if gap is not None:
            self._outages.tell(gap)

    # Losing connections

    def _lost(self, end: ConnectionClosed) -> None:
        """The connection is closed, and all that it brought was handed out."""
        self._connection = None
        self._stop_watching()
        if self._state is SubscriptionState.CLOSED:
            return
        if asyncio.get_running_loop().time() - self._opened_at >= _PROVEN_AFTER:
            self._prove()
        reason = end.__cause__ if isinstance(end.__cause__, StaleError) else end
        self._outages.begin(reason)
        self._failed(reason)

    def _failed(self, error: Exception) -> None:
        """An attempt failed, or a connection ended: end the subscription, or set the time of the next attempt."""
        if self._state is SubscriptionState.CLOSED:
            return
        if not self._is_proven:
            self._persistence.failed_attempts += 1
        self._is_proven = False
        try:
            delay = self._persistence.delay_after(error)
        except Exception as fatal:  # also what process_exception itself raises
            self._end(fatal)
            raise
        self._retry_at = asyncio.get_running_loop().time() + delay
        self._set_state(SubscriptionState.BACKING_OFF, f" for {delay:.1f} s: {show_error(error)}")

    def _end(self, failure: Exception) -> Exception:
        """For good; returns what the iteration raises."""
        self._failure = failure
        self._set_state(SubscriptionState.CLOSED, f": {show_error(failure)}")
        return failure

    def _prove(self) -> None:
        """The connection was worth its attempt."""
        if self._watch is not None:
            self._watch.has_news = True
        if not self._is_proven:
            self._is_proven = True
            self._persistence.succeeded()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def _set_state(self, state: SubscriptionState, detail: str = "") -> None:
        if self._state is SubscriptionState.CLOSED:
            return
        self._state = state
        self.logger.info("%s: %s%s", self._name, state.value, detail)
        if self._on_state is not None:
            self._on_state(state)
