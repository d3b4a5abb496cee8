"""The bounded queue of a connection."""

from picows.frame cimport WSFrame
from picows.transport cimport WSTransport
from picows_aio.assembly cimport MessageAssembler
from picows_aio.awaitable cimport Operation
from picows_aio.endpoint cimport Endpoint
from picows_aio.messages cimport FragmentedMessage, MessageQueue
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.waiter cimport Waiter


cdef size_t UNBOUNDED


cdef enum Format:
    MESSAGES   # the queue holds str and bytes, and FragmentedMessage objects
    VIEWS      # frames of whole messages, where nothing was to be done to them
    FRAMES     # frames as they came


cdef class InboxEndpoint(Endpoint):
    cdef:
        MessageQueue _queue
        MessageAssembler _assembler       # made when first needed
        FragmentedMessage _streamed       # that recv_streaming() is handing out
        ReadOperation _reader             # parked until there is something to read
        Format _format                    # what the latest reader asked for
        bint _is_raw                      # frames(raw=True) has taken the frames of an extension
        bint _has_taken_half              # frames() has taken the beginning of a message, and not its end
        size_t _high                      # messages (fragments while streaming) above which reading pauses
        size_t _low
        size_t _high_bytes
        size_t _discarded                 # frames
        ReadOperation _spare_recv         # done, and used again where nobody else holds it

    cdef int receive(self, WSFrame frame) except -1
    cdef int _receive_part(self, WSFrame frame) except -1
    cdef int _enqueue(self, object message, size_t size) except -1
    cdef size_t _waiting_cost(self)
    cdef bint _is_count_above(self, size_t mark)
    cdef int wake_reader(self) except -1
    cdef bint _has_input(self)
    cdef object _take(self)
    cdef int _begin_read(self, Format format, str what) except -1
    cdef int _deliver_held_back(self) except -1
    cdef int _park(self, ReadOperation operation) except -1
    cdef int _set_format(self, Format format) except -1
    cdef FragmentedMessage _under_way(self)


cdef class ReadOperation(Operation):
    cdef:
        InboxEndpoint endpoint
        bint has_begun
        bint is_shared                    # an iterator holds it too, to use it again
        bint wants_parts                  # of a message that is not complete
        bint gathers                      # waits for as much as there is, so that `max_queue` does not count

    cdef Format format(self)
    cdef str what(self)
    cdef bint take(self) except -1
    cdef int at_end(self) except -1
    cdef bint is_full(self)
    cdef int notify(self) except -1
    cdef object who(self)
