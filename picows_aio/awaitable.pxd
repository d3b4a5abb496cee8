"""Awaitables without a coroutine object."""

from cpython.ref cimport PyObject
from picows_aio.waiter cimport Waiter

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o) noexcept


cdef enum OperationState:
    CREATED
    PARKED        # yielded its waiter, to be stepped again
    DELEGATING    # an ordinary coroutine runs in its place
    DONE


cdef class Operation:
    cdef:
        OperationState state
        Waiter waiter          # while parked
        object value           # the result, when advance() returned True
        object _inner          # while delegating: the coroutine

    cdef bint advance(self) except -1
    cdef int abandon(self) except -1
    cdef int drop(self) except -1
    cdef int cancel_warning(self) except -1
    cdef int delegate(self, object coroutine) except -1
    cdef str qualname(self)
    cdef int _step(self, object sent) except -1
    cdef int _yield_future(self) except -1
    cdef int _step_inner(self, object sent) except -1


cdef bint may_reuse(Operation operation)
cdef int make_steppable(type cls) except -1
cdef int mark_coroutine_function(object function) except -1


cdef inline bint is_abandoned(PyObject* parked, Py_ssize_t holders=1) noexcept:
    """Whether an attribute is all that holds a parked operation, or its waiter: who stepped it by hand has dropped it.
    (A task holds what it waits for.) `holders` counts those that hold it without waiting.
    """
    return Py_REFCNT(parked) == holders
