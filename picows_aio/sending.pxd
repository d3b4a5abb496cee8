"""The sending side of a connection."""

from picows_aio.awaitable cimport Operation
from picows_aio.receiving cimport ReceivingEndpoint
from picows_aio.waiter cimport Waiter


cdef class SendingEndpoint(ReceivingEndpoint):
    cdef:
        bint _is_write_paused
        bint _is_sending_fragments
        bint _is_turn_given               # the first of the line was woken and has not begun yet
        # deque of waiters: messages that have not begun, in order; None before the first
        object _line
        list _drainers                    # waiters: until less than the limit waits to be sent
        SendOperation _spare_send         # done, and used again where nobody else holds it

    cdef bint _may_begin(self, bint has_turn) except -1
    cdef int _pass_turn(self) except -1
    cdef int resume_pushes(self) except -1
    cdef int _leave_line(self, Waiter waiter) except -1
    cdef int _send_data(self, int opcode, object message, object compress, bint fin) except -1


cdef class SendOperation(Operation):
    cdef:
        SendingEndpoint endpoint
        object message
        object text
        object compress


cdef int opcode_of(object message, object text) except -1
