"""Totals of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from picows_aio.protocol import State

if TYPE_CHECKING:
    from picows_aio.stream_queue import StreamStats


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Totals of one connection since it was opened, and what waits in it now.

    Attributes:
        state: Where the connection is in its life.
        messages_waiting: Messages that came and were not received yet, those in streams included.
        bytes_waiting: Their bytes.
        is_reading_paused: Whether nothing is read because of them.
        latency: Seconds that the last ping took; 0.0 before the first pong.
        frames_sent: Frames of every type, also those still waiting.
        frames_received: Frames of every type.
        bytes_sent: Bytes on the wire, frame headers included; bytes still waiting count too.
        bytes_received: Bytes on the wire, frame headers included.
        pings_sent: PING frames sent.
        pings_received: PING frames received.
        write_backlog: Bytes accepted that the socket has not taken yet.
        streams: The streams that are not closed.
    """

    state: State
    messages_waiting: int
    bytes_waiting: int
    is_reading_paused: bool
    latency: float
    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int
    pings_sent: int
    pings_received: int
    write_backlog: int
    streams: tuple[StreamStats, ...]
