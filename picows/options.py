"""Settings of one connection: validated once, then carried as one frozen object."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from picows.enums import WSAutoPingStrategy

PICOWS_DEBUG_LL = 9
"""Logging level of the debug messages: below ``logging.DEBUG``, because there are many."""

DEFAULT_MAX_FRAME_SIZE = 10 * 1024 * 1024

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]

_RSV_BITS = {"rsv1": 4, "rsv2": 2, "rsv3": 1}


_P = ParamSpec("_P")
_R = TypeVar("_R")


def aliased(alias: str, name: str) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Awaitable[_R]]]:
    """Accept the keyword ``alias`` as the older name of ``name``; TypeError when both are given."""

    def decorate(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
        @wraps(function)
        async def accept(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if alias in kwargs:
                if name in kwargs:
                    raise TypeError(f"{alias} is the older name of {name}: give one of them")
                kwargs[name] = kwargs.pop(alias)
            return await function(*args, **kwargs)

        return accept

    return decorate


def resolve_logger(name: str | LoggerLike | None, default: str) -> LoggerLike:
    """The logger that ``logger_name`` stands for: ``picows.<name>``, or the object itself."""
    if name is None:
        name = default
    if isinstance(name, str):
        return logging.getLogger(f"picows.{name}")
    if isinstance(name, logging.Logger | logging.LoggerAdapter):
        return name
    raise TypeError(f"logger_name must be a str, a Logger or a LoggerAdapter, not {type(name).__name__}")


def _rsv_mask(names: Iterable[str]) -> int:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"allowed_rsv must be an iterable of names such as ('rsv1',), not {names!r}")
    mask = 0
    for name in names:
        if name not in _RSV_BITS:
            raise ValueError(f"allowed_rsv holds {name!r}; the reserved bits are named 'rsv1', 'rsv2' and 'rsv3'")
        mask |= _RSV_BITS[name]
    return mask


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
    return value


def _size(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63):
        raise ValueError(f"{name} must be a positive number of bytes below 2**63, or None, not {value!r}")
    return value


def _strategy(value: WSAutoPingStrategy) -> WSAutoPingStrategy:
    if value not in (WSAutoPingStrategy.PING_WHEN_IDLE, WSAutoPingStrategy.PING_PERIODICALLY):
        raise ValueError(f"auto_ping_strategy must be a member of WSAutoPingStrategy, not {value!r}")
    return WSAutoPingStrategy(value)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What :func:`picows.ws_connect` and :func:`picows.ws_create_server` have in common, validated."""

    logger: LoggerLike
    disconnect_on_exception: bool
    handshake_timeout: float | None  # seconds
    enable_auto_ping: bool
    auto_ping_idle_timeout: float  # seconds
    auto_ping_reply_timeout: float  # seconds
    auto_ping_strategy: WSAutoPingStrategy
    enable_auto_pong: bool
    enable_auto_close: bool
    max_frame_size: int | None  # bytes
    strict: bool
    allowed_rsv: int  # bits as in the first octet of a frame header, shifted down: 4 RSV1, 2 RSV2, 1 RSV3
    validate_utf8: bool
    coalesce: bool
    busy_poll_ns: int  # nanoseconds; 0: off

    @classmethod
    def validate(
        cls,
        *,
        default_logger: str,
        logger_name: str | LoggerLike | None = None,
        disconnect_on_exception: bool = True,
        websocket_handshake_timeout: float | None = 5,
        enable_auto_ping: bool = False,
        auto_ping_idle_timeout: float = 10,
        auto_ping_reply_timeout: float = 10,
        auto_ping_strategy: WSAutoPingStrategy = WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong: bool = True,
        enable_auto_close: bool = True,
        max_frame_size: int | None = DEFAULT_MAX_FRAME_SIZE,
        read_buffer_init_size: int = 16 * 1024,
        strict: bool = False,
        allowed_rsv: Iterable[str] = (),
        validate_utf8: bool = False,
        coalesce: bool = False,
        busy_poll: float = 0,
    ) -> "ConnectionOptions":
        """Check every keyword and build the options.

        Raises:
            ValueError: A value is out of range; the message names the parameter and the rule.
            TypeError: A value has the wrong type.
        """
        if websocket_handshake_timeout is not None:
            _positive("websocket_handshake_timeout", websocket_handshake_timeout)
        _positive("auto_ping_idle_timeout", auto_ping_idle_timeout)
        _positive("auto_ping_reply_timeout", auto_ping_reply_timeout)
        if enable_auto_ping and auto_ping_reply_timeout > auto_ping_idle_timeout:
            raise ValueError(
                f"auto_ping_reply_timeout ({auto_ping_reply_timeout} s) must not exceed "
                f"auto_ping_idle_timeout ({auto_ping_idle_timeout} s)"
            )
        _size("read_buffer_init_size", read_buffer_init_size)
        if isinstance(busy_poll, bool) or not isinstance(busy_poll, int | float) or not 0 <= busy_poll <= 1_000_000:
            raise ValueError(f"busy_poll must be a number of microseconds from 0 to 1000000, not {busy_poll!r}")
        return cls(
            logger=resolve_logger(logger_name, default_logger),
            disconnect_on_exception=bool(disconnect_on_exception),
            handshake_timeout=websocket_handshake_timeout,
            enable_auto_ping=bool(enable_auto_ping),
            auto_ping_idle_timeout=auto_ping_idle_timeout,
            auto_ping_reply_timeout=auto_ping_reply_timeout,
            auto_ping_strategy=_strategy(auto_ping_strategy),
            enable_auto_pong=bool(enable_auto_pong),
            enable_auto_close=bool(enable_auto_close),
            max_frame_size=_size("max_frame_size", max_frame_size),
            strict=bool(strict),
            allowed_rsv=_rsv_mask(allowed_rsv),
            validate_utf8=bool(validate_utf8),
            coalesce=bool(coalesce),
            busy_poll_ns=int(busy_poll * 1000),
        )

    @classmethod
    def for_client(cls, **settings: Any) -> "ConnectionOptions":
        """Options from the keywords of ``ws_connect``; see :meth:`validate`."""
        return cls.validate(default_logger="client", **settings)

    @classmethod
    def for_server(cls, **settings: Any) -> "ConnectionOptions":
        """Options from the keywords of ``ws_create_server``; see :meth:`validate`."""
        return cls.validate(default_logger="server", **settings)
