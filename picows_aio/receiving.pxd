"""The receiving side of a connection."""

from picows_aio.inbox cimport InboxEndpoint


cdef class ReceivingEndpoint(InboxEndpoint):
    pass
