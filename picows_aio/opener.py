"""Opening the connections of a subscription: connect, and tell the server what it must know."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from picows_aio.arguments import check_function
from picows_aio.client import ClientConnection, connect
from picows_aio.frames import CloseCode
from picows_aio.headers import build_host
from picows_aio.reconnect import jittered_backoff


class Opener:
    """Makes the connections of a subscription, each as if it were the first.

    Args:
        uri: As for `connect`.
        options: Keywords of `connect`, from which the default of ``reconnect_delays`` differs.
        on_open: Called with each connection; a function or a coroutine function, or None.

    Attributes:
        model: A `connect` with these options, which is never awaited.
        name: The URI for people: without user, password and query, where tokens are.
    """

    def __init__(self, uri: str, options: dict[str, Any], on_open: Callable[[ClientConnection], object] | None) -> None:
        if options.get("sock") is not None:
            raise ValueError("sock= is good for one connection only: give host= and port=, or path=, instead")
        check_function("on_open", on_open)
        self._uri = uri
        self._options = {"reconnect_delays": jittered_backoff} | options
        self._on_open = on_open
        self.model = connect(uri, **self._options)
        target = self.model.ws_uri
        host = build_host(target.host, target.port, target.secure)
        self.name = f"{'wss' if target.secure else 'ws'}://{host}{target.path or '/'}"

    async def open(self) -> ClientConnection:
        """A connection on which ``on_open`` has succeeded.

        Raises:
            Exception: What `connect` or ``on_open`` raised; TimeoutError where either took longer than
                ``open_timeout``. There is no connection then.
        """
        # A new `connect` each time: one that was redirected would never ask the first server again.
        connection = await connect(self._uri, **self._options)
        if self._on_open is not None:
            try:
                await self._introduce(connection, self._on_open)
            except BaseException as exc:
                self.drop(connection, exc)
                raise
        return connection

    async def _introduce(self, connection: ClientConnection, on_open: Callable[[ClientConnection], object]) -> None:
        timeout = self.model.open_timeout
        try:
            async with asyncio.timeout(timeout) as deadline:
                result = on_open(connection)
                if inspect.isawaitable(result):
                    await result
        except TimeoutError as exc:
            if not deadline.expired():
                raise
            raise TimeoutError(f"on_open did not return within open_timeout, {timeout:g} s") from exc
        except StopAsyncIteration as exc:
            # As from a generator (PEP 479): it would end the iteration over the subscription without a word.
            raise RuntimeError("on_open raised StopAsyncIteration") from exc

    @staticmethod
    def drop(connection: ClientConnection, cause: BaseException | None) -> None:
        """End a connection without waiting for the peer."""
        connection.fail(CloseCode.INTERNAL_ERROR, "", cause)
        connection.transport.abort()
