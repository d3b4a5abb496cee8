# cython: auto_pickle=False, autotestdict=False
"""One message to many connections: encoded once, its header built once, one pass of direct writes."""

from typing import NamedTuple

from cpython.buffer cimport PyObject_CheckBuffer
from libc.stdint cimport uint8_t
from picows.enums cimport WSMsgType
from picows.output cimport build_frame
from picows.transport cimport WSTransport


class WSBroadcastResult(NamedTuple):
    """What became of a broadcast.

    Attributes:
        sent: How many connections took the message or queued it.
        skipped: Transports that were closed, closing, or had more than ``max_backlog`` bytes waiting.
        failed: Pairs of a transport and the exception that its send raised.
    """

    sent: int
    skipped: tuple
    failed: tuple


def broadcast(transports, WSMsgType msg_type, message, *, max_backlog=None):
    """Send one whole message to many connections, waiting for none of them.

    A connection whose earlier output still waits queues a reference to the shared frame, so a slow peer costs no copy
    and delays nobody. Client connections are possible too; each masks its own copy (RFC 6455 section 5.3).

    Args:
        transports: The connections; all of the calling thread's loop.
        msg_type: TEXT or BINARY.
        message: A str, bytes-like object or WSFrame.
        max_backlog: Bytes. Connections with more than that waiting are skipped; None: nobody is skipped for being slow.

    Raises:
        ValueError: The message type is neither TEXT nor BINARY, or the bound is negative.
        TypeError: The message is none of the accepted types.
        RuntimeError: Called from a thread other than that of the connections.
    """
    cdef:
        bytes payload = as_bytes(message)
        bytes frame = None
        WSTransport transport
        list skipped = []
        list failed = []
        Py_ssize_t sent = 0
    if msg_type != WSMsgType.TEXT and msg_type != WSMsgType.BINARY:
        raise ValueError(f"broadcast() sends whole messages: msg_type must be TEXT or BINARY, not {int(msg_type)}")
    if max_backlog is not None and max_backlog < 0:
        raise ValueError(f"max_backlog must be a number of bytes, 0 or more, not {max_backlog!r}")
    # A copy: a callback that runs meanwhile may change the collection.
    cdef list targets = list(transports)
    for target in targets:
        if not isinstance(target, WSTransport):
            raise TypeError(f"transports must hold WSTransport objects, not {type(target).__name__}")
    for transport in targets:
        if not transport.can_broadcast() or (max_backlog is not None and transport.output.backlog() > max_backlog):
            skipped.append(transport)
            continue
        try:
            if transport.is_client_side:
                transport.send_object(<uint8_t> msg_type, payload, True, 0)
            else:
                if frame is None:
                    frame = build_frame(<uint8_t> msg_type, <const uint8_t*> <char*> payload, len(payload), True, 0)
                transport.output.send_built(frame)
        except Exception as exc:   # a transport's own, for example of a loop that was closed
            failed.append((transport, exc))
        else:
            if transport.output.is_stopped():
                failed.append((transport, transport.disconnect_cause))
            else:
                sent += 1
    return WSBroadcastResult(sent, tuple(skipped), tuple(failed))


cdef bytes as_bytes(message):
    if type(message) is bytes:
        return message
    if isinstance(message, str):
        return (<str> message).encode("utf-8")
    if not PyObject_CheckBuffer(message):
        raise TypeError(f"message must be str, bytes-like or WSFrame, not {type(message).__name__}")
    return bytes(memoryview(message))
