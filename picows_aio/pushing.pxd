"""Pushing: sending without waiting."""

from picows_aio.send_budget cimport SendBudget
from picows_aio.sending cimport SendingEndpoint


cdef class PushingEndpoint(SendingEndpoint):
    cdef:
        object _write_limit               # high and low mark
        SendBudget _budget                # made when the first policy is used

    cpdef SendBudget send_budget(self)
    cdef int close_pushes(self) except -1
