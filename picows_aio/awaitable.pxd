"""Awaitables without a coroutine object, and waiters without a future."""

from cpython.ref cimport PyObject

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o) noexcept


cdef enum OperationState:
    CREATED
    PARKED        # yielded its waiter, to be stepped again
    DELEGATING    # an ordinary coroutine runs in its place
    DONE


cdef class Waiter:
    cdef:
        public bint _asyncio_future_blocking   # the protocol between futures and tasks
        object _loop
        object _callback                       # what a task added; None before and after
        object _context
        bint _is_task_wakeup                   # the callback steps a task: it may run at once
        list _others                           # further pairs of callback and context
        bint _is_done
        bint _is_cancelled
        object _cancel_message

    @staticmethod
    cdef Waiter create(object loop)
    cdef int wake(self) except -1
    cdef object waiting_task(self)
    cdef int _schedule(self, object callback, object context) except -1


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
    cdef int _step_inner(self, object sent) except -1


cdef bint may_reuse(Operation operation)
cdef int make_steppable(type cls) except -1
cdef int mark_coroutine_function(object function) except -1


cdef inline bint is_abandoned(PyObject* parked, Py_ssize_t holders=1) noexcept:
    """Whether an attribute is all that holds a parked operation, or its waiter: who stepped it by hand has dropped it.
    (A task holds what it waits for.) `holders` counts those that hold it without waiting.
    """
    return Py_REFCNT(parked) == holders
