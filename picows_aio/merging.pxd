"""One loop over many connections."""

from picows_aio.awaitable cimport Operation
from picows_aio.inbox cimport InboxEndpoint, ReadOperation
from picows_aio.waiter cimport Waiter


cdef class MergeState:
    cdef:
        object _loop
        list _readers          # of the connections that are not finished
        object _ready          # deque of readers whose connections may have something
        Waiter _waiter         # of the task that is parked
        object _on_closed

    cdef int ready(self, MergedReader reader) except -1
    cdef object next_pair(self)
    cdef int release(self) except -1
    cdef int _claim(self, InboxEndpoint endpoint) except -1
    cdef int _finish(self, MergedReader reader) except -1


cdef class MergedReader(ReadOperation):
    cdef:
        MergeState _state
        bint _is_ready         # stands in the line


cdef class Merge:
    cdef MergeState _state


cdef class MergeOperation(Operation):
    cdef:
        MergeState _state
        Merge _merge           # keeps the claims while a task waits
        bint _has_begun
