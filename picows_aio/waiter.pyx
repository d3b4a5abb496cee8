# cython: auto_pickle=False, autotestdict=False
"""Waiters that step a task at once: in the turn of the loop of whoever wakes them, instead of scheduling that."""

import asyncio
import sys

cimport cython
from cpython.ref cimport PyObject

cdef extern from "Python.h":
    bint PyCFunction_CheckExact(object function) noexcept
    PyObject* PyCFunction_GET_SELF(object function) noexcept
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    PARKED_HOLDERS = 2   # of a future that nobody else can see: its waiter, and the task that waits


class _NoLoop:
    """The loop of a future that schedules nothing."""

    def get_debug(self):
        return False


# Python 3.11 has current_task() in Python only.
cdef object current_task = asyncio.current_task if sys.version_info >= (3, 12) else asyncio.tasks._current_tasks.get
cdef bint KEEPS_AWAITERS = sys.version_info >= (3, 14)   # a future then remembers every task that awaited it
cdef type Task = asyncio.Task
cdef type Future = asyncio.Future
cdef object remove_callback = Future.remove_done_callback
cdef object WOKEN = Future(loop=_NoLoop())
WOKEN.set_result(None)


@cython.final
cdef class Waiter:
    """What a parked operation waits for: a future, since tasks know nothing faster, and a way to complete it.

    Where a task is all that waits, the future is not completed: its callback is taken away and called at once with
    `WOKEN`, and the future serves again.
    """

    @staticmethod
    cdef Waiter create(object loop):
        cdef Waiter self = Waiter.__new__(Waiter)
        self._loop = loop
        self.future = Future(loop=loop)   # not the loop's own kind, which may have other insides
        return self

    @staticmethod
    cdef Waiter renew(Waiter used, object loop):
        """A waiter for whoever parks next: the one before, None at first, where that has nobody left."""
        if used is None or not used._is_woken or used._is_spent or KEEPS_AWAITERS:
            return Waiter.create(loop)
        if ws_holders(<PyObject*> used.future) != 1:
            return Waiter.create(loop)
        used._is_woken = False
        return used

    cdef int wake(self) except -1:
        """What was waited for is there. A task that waits runs now, unless one is running or its context is in use."""
        cdef list callbacks
        if self._is_woken:
            return 0
        self._is_woken = True
        if current_task(self._loop) is None:
            if self._callback is not None and self._step():
                return 0
            callbacks = self.future._callbacks   # pairs of callback and context; None: there are none
            if callbacks is not None and len(callbacks) == 1:
                self._callback, self._context = <tuple> callbacks[0]
                callbacks = None
                if isinstance(task_of(self._callback), Task) and self._step():
                    return 0
        self.forget()
        self._is_spent = True
        if not self.future.done():
            self.future.set_result(None)
        return 0

    cdef bint _step(self) except -1:
        """Run the wake-up of the task that is known to wait; False: another waits, or it cannot run now.

        A task makes a new wake-up for each wait, but all of them are equal.
        """
        cdef Waiter kept = self   # the task may drop the last reference
        cdef object callback = self._callback
        cdef object context = self._context
        try:
            PyContext_Enter(context)
        except RuntimeError:   # entered already, further up the stack
            return False
        try:
            if not remove_callback(self.future, callback):
                return False
            if ws_holders(<PyObject*> self.future) != PARKED_HOLDERS or self.future._callbacks:
                self._is_spent = True
                self.future.set_result(None)
            callback(WOKEN)
        except (KeyboardInterrupt, SystemExit) as exc:
            # These must leave the loop; from inside a transport's callback not every loop lets them.
            kept._loop.call_soon(_raise, exc)
        finally:
            PyContext_Exit(context)
        if kept._is_woken:   # the task does not wait here again, and may end
            kept.forget()
        return True

    cdef int forget(self) except -1:
        """Let go of the task."""
        self._callback = self._context = None
        return 0

    cdef object waiting_task(self):
        """The task that waits, as far as it can be known."""
        return task_of(self.future._callbacks[0][0]) if self.future._callbacks else None

    cdef bint _is_pending(self) except -1:
        return not self._is_woken and not self.future.done()

    def __await__(self):
        if self._is_pending():
            self.future._asyncio_future_blocking = True
            yield self.future


cdef object task_of(object callback):
    """The object whose method a future calls back: a task, if it is that which waits."""
    if PyCFunction_CheckExact(callback) and PyCFunction_GET_SELF(callback) != NULL:
        return <object> PyCFunction_GET_SELF(callback)
    return getattr(callback, "__self__", None)


def _raise(exc):
    raise exc
