"""The states of a connection."""

import enum

__all__ = ["CLOSED", "CLOSING", "CONNECTING", "OPEN", "State"]


class State(enum.IntEnum):
    """How far a connection has come (RFC 6455 sections 4.1, 7.1.3 and 7.1.4)."""

    CONNECTING = 0
    """The opening handshake is under way."""
    OPEN = 1
    """Messages can be sent and received."""
    CLOSING = 2
    """The closing handshake has begun."""
    CLOSED = 3
    """The TCP connection is gone."""


CONNECTING = State.CONNECTING
OPEN = State.OPEN
CLOSING = State.CLOSING
CLOSED = State.CLOSED
