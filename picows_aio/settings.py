"""Limits and texts that the environment sets, under the names programs for `websockets` use. Read once, at import."""

from __future__ import annotations

import math
import os
import sys

from picows.version import __version__


def _size(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name}={text!r} in the environment is not a whole number, zero or more")
    return int(text)


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={text!r} in the environment is not a number, zero or more")
    return value


PRODUCT = f"Python/{sys.version_info.major}.{sys.version_info.minor} picows_aio/{__version__}"
"""What `Server` and `User-Agent` say by default (RFC 9110 section 10.1.5)."""

SERVER = os.environ.get("WEBSOCKETS_SERVER", PRODUCT)
USER_AGENT = os.environ.get("WEBSOCKETS_USER_AGENT", PRODUCT)

MAX_LINE_LENGTH = _size("WEBSOCKETS_MAX_LINE_LENGTH", 8192)
"""Bytes of a request line, status line or header line of the opening handshake."""

MAX_NUM_HEADERS = _size("WEBSOCKETS_MAX_NUM_HEADERS", 128)
MAX_BODY_SIZE = _size("WEBSOCKETS_MAX_BODY_SIZE", 1 << 20)
"""Bytes of the body of a response that refuses the opening handshake."""

MAX_REDIRECTS = _size("WEBSOCKETS_MAX_REDIRECTS", 10)

MAX_FRAGMENTS = _size("WEBSOCKETS_MAX_FRAGMENTS", 0) or None
"""Frames of one message; None unless the environment sets it, as their bytes are bounded in any case."""

MAX_LOG_SIZE = _size("WEBSOCKETS_MAX_LOG_SIZE", 75)
"""Characters of a frame's payload in a log line."""

BACKOFF_INITIAL_DELAY = _number("WEBSOCKETS_BACKOFF_INITIAL_DELAY", 5.0)
"""Seconds: the first delay is random between zero and this."""

BACKOFF_MIN_DELAY = _number("WEBSOCKETS_BACKOFF_MIN_DELAY", 3.1)
BACKOFF_MAX_DELAY = _number("WEBSOCKETS_BACKOFF_MAX_DELAY", 90.0)
BACKOFF_FACTOR = _number("WEBSOCKETS_BACKOFF_FACTOR", 1.618)
