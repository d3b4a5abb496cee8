"""Connections: messages in, messages out."""

from picows.frame cimport WSFrame
from picows.listener cimport WSListener
from picows.transport cimport WSTransport
from picows_aio.awaitable cimport Operation, Waiter
from picows_aio.messages cimport FragmentedMessage, MessageLimits, MessageQueue
from picows_aio.send_budget cimport SendBudget


cdef enum LifeCycle:
    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


cdef class Connection(WSListener):
    cdef:
        readonly object protocol          # Session
        object _loop
        object _peer                      # asyncio transport before the handshake is complete
        WSTransport _transport            # None before the handshake is complete
        object _logger                    # made when first needed
        readonly object request
        readonly object response
        LifeCycle _state
        # Receiving
        MessageQueue _queue
        MessageLimits _limits
        FragmentedMessage _current        # of which not all frames came
        FragmentedMessage _streamed       # that recv_streaming() is handing out
        Operation _reader                 # parked until there is something to read
        size_t _high                      # messages (fragments while streaming) above which reading pauses
        size_t _low
        size_t _high_bytes
        bint _is_bounded
        bint _is_paused
        bint _discards                    # close() was called: what is over the bounds is dropped
        size_t _discarded
        # Extensions
        object _deflate                   # codec of permessage-deflate, or None
        list _extensions                  # others, or None
        object _text_decoder              # checks compressed text across fragments
        bint _is_compressed               # the message under way
        # Sending
        bint _is_write_paused
        bint _is_sending_fragments
        bint _is_turn_given               # the first of the line was woken and has not begun yet
        # deque of waiters: messages that have not begun, in order; None before the first
        object _line
        list _drainers                    # waiters: until less than the limit waits to be sent
        object _write_limit
        SendBudget _budget                # made when the first policy is used
        # Closing
        object _close_timeout
        object _close_deadline            # timer
        object _close_cause               # exception behind the one that recv() and send() raise
        list _close_waiters
        # Keepalive
        object _ping_interval
        object _ping_timeout
        object _keepalive                 # made when the connection opens
        dict _pings                       # payload: (future or None, when it was sent), in order
        readonly double latency           # seconds; 0.0 before the first pong

    cdef int _receive_message(self, WSFrame frame) except -1
    cdef int _receive_fragment(self, bint is_text, bytes payload, bint is_last) except -1
    cdef int _enqueue(self, object message, size_t size) except -1
    cdef int _check_bounds(self) except -1
    cdef int _unpause(self) except -1
    cdef int _wake_reader(self) except -1
    cdef bint _has_input(self)
    cdef object _take(self)
    cdef bint _is_over_bounds(self)
    cdef object _parked(self, Operation operation)
    cdef int _begin_read(self, Operation operation) except -1
    cdef bint _is_open(self) except -1
    cdef bint _may_begin(self, bint has_turn) except -1
    cpdef SendBudget send_budget(self)
    cdef int _pass_turn(self) except -1
    cdef int _leave_line(self, Waiter waiter) except -1
    cdef int _send_data(self, int opcode, object message, object compress, bint fin) except -1


cdef class ReadOperation(Operation):
    cdef:
        Connection connection
        object decode
        bint has_begun

    cdef bint has_message(self) except -1


cdef class RecvOperation(ReadOperation):
    pass


cdef class NextOperation(ReadOperation):
    pass


cdef class StreamOperation(ReadOperation):
    pass


cdef class SendOperation(Operation):
    cdef:
        Connection connection
        object message
        object text
        object compress
