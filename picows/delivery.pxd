"""From reads to the listener's callbacks."""

from picows.ending cimport EndingProtocol
from picows.frame cimport WSFrame


cdef enum Callback:
    NO_CALLBACK  # the parser
    ON_WS_FRAME
    ON_READ_END
    IS_USER_SPECIFIC_PONG


cdef class DeliveringProtocol(EndingProtocol):
    cdef:
        bint _has_ended                 # the last frames are delivered: there is nothing left to pause
        bint _is_delivering
        Callback _callback              # what an exception now comes from
        object _postponed               # an exception of _deliver_more(), and what it came from
        Callback _postponed_callback
        bint _has_failed                # nothing more of the read under way is delivered
        # The listener's callbacks, looked up once.
        unsigned int _hooks_version
        object _on_frame                # bound method of a Python override, or None: call through the C interface
        object _on_read_end             # the same
        bint _wants_read_end
        # Auto pong to a peer that does not read.
        bint _is_write_paused
        bytes _latest_ping              # payload to answer when writing resumes

    cdef int _look_up_hooks(self) except -1
    cdef int _deliver(self) except -1
    cdef int _deliver_until_done(self) except -1
    cdef int _call_on_read_end(self) except -1
    cdef int _deliver_frames(self) except -1
    cdef int _deliver_more(self) except -1
    cdef bint _intercepts(self, WSFrame frame) except -1
    cdef int _answer_ping(self, WSFrame frame) except -1
    cdef int _callback_failed(self, object exception, str name) except -1
