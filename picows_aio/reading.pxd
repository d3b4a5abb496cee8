"""The ways to take something out of a connection's queue."""

from picows_aio.inbox cimport InboxEndpoint, ReadOperation


cdef class RecvOperation(ReadOperation):
    cdef object decode


cdef class NextOperation(ReadOperation):
    pass


cdef class FragmentOperation(ReadOperation):
    pass


cdef class FrameOperation(NextOperation):
    cdef bint is_raw


cdef class ViewOperation(NextOperation):
    pass


cdef class BatchOperation(NextOperation):
    cdef:
        size_t max_messages
        size_t max_bytes

    cdef int _fetch_held_back(self) except -1


cdef class MessageIterator:
    cdef:
        InboxEndpoint _endpoint
        ReadOperation _operation          # the latest, used again when it is done

    cdef ReadOperation new_operation(self)


cdef class FrameIterator(MessageIterator):
    cdef bint _is_raw


cdef class ViewIterator(MessageIterator):
    pass


cdef class BatchIterator(MessageIterator):
    cdef:
        size_t _max_messages
        size_t _max_bytes
