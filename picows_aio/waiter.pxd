"""Waiters that step a task at once."""

from cpython.ref cimport PyObject

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define ws_holders(object) ((Py_ssize_t)1 << 30)   /* a count proves nothing while other threads run */
    #else
    #define ws_holders(object) Py_REFCNT(object)
    #endif
    """
    Py_ssize_t ws_holders(PyObject* object) noexcept


cdef class Waiter:
    cdef:
        object future          # what is yielded: an asyncio future
        object _loop
        object _callback       # wake-up of a task that has waited before and waits now, or None
        object _context        # of that task
        bint _is_woken
        bint _is_spent         # the future is done

    @staticmethod
    cdef Waiter create(object loop)

    @staticmethod
    cdef Waiter renew(Waiter used, object loop)

    cdef int wake(self) except -1
    cdef object waiting_task(self)
    cdef bint _is_pending(self) except -1
    cdef bint _step(self) except -1
    cdef int forget(self) except -1
