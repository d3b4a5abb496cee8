"""Types of arguments and results, for annotations."""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Sequence
from typing import Any, NewType

__all__ = [
    "BytesLike",
    "ConnectionOption",
    "Data",
    "DataLike",
    "ExtensionHeader",
    "ExtensionName",
    "ExtensionParameter",
    "LoggerLike",
    "Origin",
    "PathLike",
    "StatusLike",
    "Subprotocol",
    "UpgradeProtocol",
]

Data = str | bytes
"""A received message: str from a text message, bytes from a binary one."""

BytesLike = bytes | bytearray | memoryview
"""What a binary message can be sent from."""

DataLike = str | bytes | bytearray | memoryview
"""What a message can be sent from."""

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""Path of a Unix socket."""

StatusLike = http.HTTPStatus | int

Origin = NewType("Origin", str)
"""Value of an Origin header (RFC 6454 section 7)."""

Subprotocol = NewType("Subprotocol", str)
"""Name of a subprotocol (RFC 6455 section 1.9)."""

ExtensionName = NewType("ExtensionName", str)
"""Name of an extension (RFC 6455 section 9.1)."""

ExtensionParameter = tuple[str, str | None]
"""Name and value of a parameter of an extension; None if it has no value."""

ExtensionHeader = tuple[ExtensionName, Sequence[ExtensionParameter]]
"""One extension of a Sec-WebSocket-Extensions header."""

ConnectionOption = NewType("ConnectionOption", str)
"""One token of a Connection header."""

UpgradeProtocol = NewType("UpgradeProtocol", str)
"""One protocol of an Upgrade header."""
