# cython: auto_pickle=False, autotestdict=False
"""Awaitables without a coroutine object, and waiters without a future.

An `Operation` is what `recv()` or `send()` returns: a coroutine as far as `await`, asyncio's tasks and
`collections.abc.Coroutine` can tell. When there is nothing to wait for, it finishes in its first step without touching
the event loop. Otherwise it yields a `Waiter`, a future as far as a task can tell; `wake()` then steps the task at
once, in the caller's turn of the loop, instead of scheduling that.
"""

import asyncio
import inspect

cimport cython
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF, PyObject

cdef extern from "Python.h":
    ctypedef int (*sendfunc)(PyObject*, PyObject*, PyObject**) except -1
    ctypedef PyObject* (*iternextfunc)(PyObject*) except? NULL
    ctypedef PyObject* (*unaryfunc)(PyObject*) except NULL
    int PYGEN_RETURN
    int PYGEN_NEXT
    void PyErr_SetObject(object type, object value) noexcept
    int PyErr_WarnFormat(object category, Py_ssize_t stack_level, const char* format, ...) except -1
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef extern from *:
    """
    static void ws_set_step_slots(PyTypeObject *type, unaryfunc await, iternextfunc next, sendfunc send)
    {
        type->tp_as_async->am_await = await;
        type->tp_as_async->am_send = send;
        type->tp_iternext = next;
    }
    #ifdef Py_GIL_DISABLED
    #define ws_holders(object) ((Py_ssize_t)1 << 30)   /* a count proves nothing while other threads run */
    #else
    #define ws_holders(object) Py_REFCNT(object)
    #endif
    """
    Py_ssize_t ws_holders(PyObject* object) noexcept
    void ws_set_step_slots(PyTypeObject* type, unaryfunc await_, iternextfunc next, sendfunc send) noexcept

cdef extern from *:
    """
    #define ws_set_function_code(function, code) \
        do { Py_INCREF(code); Py_SETREF(((__pyx_CyFunctionObject *) (function))->func_code, (code)); } while (0)
    """
    void ws_set_function_code(object function, object code)

cdef enum:
    RETURNED = 1    # what _step() made
    YIELDED = 2

_current_task = asyncio.current_task
_Task = asyncio.Task


cdef class Waiter:
    """What a parked operation yields: enough of a future for a task, and for whoever else awaits one."""

    @staticmethod
    cdef Waiter create(object loop):
        cdef Waiter self = Waiter.__new__(Waiter)
        self._loop = loop
        self._asyncio_future_blocking = True
        return self

    cdef int wake(self) except -1:
        """What was waited for is there. A task that waits runs now, unless one is running or its context is in use."""
        cdef Waiter kept = self   # the task that runs may drop the last reference
        cdef object callback = self._callback
        cdef object context = self._context
        if self._is_done:
            return 0
        self._is_done = True
        self._callback = self._context = None
        if callback is not None:
            if self._is_task_wakeup and _current_task(self._loop) is None:
                self._run(callback, context)
            else:
                self._schedule(callback, context)
        if kept._others is not None:
            for callback, context in kept._others:
                kept._schedule(callback, context)
            kept._others = None
        return 0

    def _run(self, callback, context):
        try:
            PyContext_Enter(context)
        except RuntimeError:   # entered already, further up the stack
            self._schedule(callback, context)
            return
        try:
            callback(self)
        except (KeyboardInterrupt, SystemExit) as exc:
            # These must leave the loop; from inside a transport's callback not every loop lets them.
            self._loop.call_soon(_raise, exc)
        finally:
            PyContext_Exit(context)

    cdef int _schedule(self, object callback, object context) except -1:
        self._loop.call_soon(callback, self, context=context)
        return 0

    cdef object waiting_task(self):
        """The task that waits, as far as it can be known."""
        return getattr(self._callback, "__self__", None)

    def __repr__(self):
        state = "cancelled" if self._is_cancelled else "done" if self._is_done else "pending"
        return f"<{type(self).__name__} {state}>"

    def get_loop(self):
        return self._loop

    def add_done_callback(self, callback, *, context=None):
        if self._is_done or self._callback is not None:
            if self._is_done:
                self._schedule(callback, context)
                return
            if self._others is None:
                self._others = []
            self._others.append((callback, context))
            return
        self._callback = callback
        self._context = context
        self._is_task_wakeup = context is not None and isinstance(getattr(callback, "__self__", None), _Task)

    def remove_done_callback(self, callback):
        removed = 0
        if self._callback is not None and self._callback == callback:
            self._callback = self._context = None
            removed = 1
        if self._others is not None:
            kept = [pair for pair in self._others if pair[0] != callback]
            removed += len(self._others) - len(kept)
            self._others = kept
        return removed

    def cancel(self, msg=None):
        """Called by the task that waits when it is cancelled: it is stepped in the next turn of the loop."""
        if self._is_done:
            return False
        self._is_cancelled = True
        self._cancel_message = msg
        self._is_task_wakeup = False
        self.wake()
        return True

    def cancelled(self):
        return self._is_cancelled

    def done(self):
        return self._is_done

    def result(self):
        if self._is_cancelled:
            raise asyncio.CancelledError(*(() if self._cancel_message is None else (self._cancel_message,)))
        if not self._is_done:
            raise asyncio.InvalidStateError("Result is not set.")
        return None

    def exception(self):
        self.result()
        return None

    def __await__(self):
        if not self._is_done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    __iter__ = __await__


def _raise(exc):
    raise exc


cdef object _as_exception(typ, value):
    """The exception that the arguments of a coroutine's ``throw`` stand for."""
    if isinstance(typ, BaseException):
        return typ
    if not isinstance(typ, type) or not issubclass(typ, BaseException):
        raise TypeError(
            f"exceptions must be classes or instances deriving from BaseException, not {type(typ).__name__}"
        )
    if isinstance(value, BaseException):
        return value
    return typ() if value is None else typ(value)


cdef class Operation:
    """A coroutine-like awaitable: steps through `advance`, which subclasses implement; each concrete class is made
    steppable.
    """

    cdef bint advance(self) except -1:
        """Try to finish: True with `value` set, or False with `waiter` or `_inner` set. Called again after the waiter
        was woken.
        """
        raise NotImplementedError

    cdef int abandon(self) except -1:
        """The operation is cancelled or closed while it is parked."""
        return 0

    cdef str qualname(self):
        return type(self).__name__

    cdef int cancel_warning(self) except -1:
        """This operation is not there to be awaited."""
        self.state = DONE
        return 0

    cdef int delegate(self, object coroutine) except -1:
        """Let an ordinary coroutine do the rest; for what is too rare to be fast."""
        self._inner = coroutine
        return 0

    cdef int _step(self, object sent) except -1:
        if self.state == DELEGATING:
            return self._step_inner(sent)
        if self.state == DONE:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.state == CREATED and sent is not None:
            raise TypeError("can't send non-None value to a just-started coroutine")
        if self.waiter is not None:
            if not self.waiter._is_done:
                # Stepped by somebody who does not wait for what is yielded: wait on.
                self.waiter._asyncio_future_blocking = True
                self.value = self.waiter
                return YIELDED
            self.waiter = None
        self.state = DONE   # unless it parks: also when advance() raises
        if self.advance():
            return RETURNED
        if self._inner is not None:
            self.state = DELEGATING
            return self._step_inner(None)
        self.state = PARKED
        self.value = self.waiter
        return YIELDED

    cdef int _step_inner(self, object sent) except -1:
        try:
            self.value = self._inner.send(sent)
            return YIELDED
        except StopIteration as stop:
            self._finish_inner()
            self.value = stop.value
            return RETURNED
        except BaseException:
            self._finish_inner()
            raise

    def _finish_inner(self):
        self.state = DONE
        self._inner = None

    def __await__(self):
        # `await` itself takes step_await(); only who calls this method needs an iterator that can be iterated over.
        return Steps(step_await_checked(self))

    def __next__(self):
        raise NotImplementedError   # replaced by make_steppable()

    def send(self, value):
        """Step the operation, as a coroutine."""
        if self._step(value) == RETURNED:
            raise StopIteration(self._take_value())
        return self._take_value()

    def throw(self, typ, value=None, traceback=None):
        """Raise an exception inside the operation, as in a coroutine."""
        exc = _as_exception(typ, value)
        if traceback is not None:
            exc = exc.with_traceback(traceback)
        if self.state == DELEGATING:
            return self._throw_inner(exc)
        if self.state == DONE:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self._leave()
        raise exc

    def _throw_inner(self, exc):
        try:
            return self._inner.throw(exc)
        except BaseException:
            self._finish_inner()
            raise

    def close(self):
        """Give the operation up, as a coroutine."""
        if self.state == DELEGATING:
            inner = self._inner
            self._finish_inner()
            inner.close()
        elif self.state != DONE:
            self._leave()

    def _leave(self):
        was_parked = self.state == PARKED
        self.state = DONE
        if was_parked:
            self.abandon()
        self.waiter = None

    def _take_value(self):
        value = self.value
        self.value = None
        return value

    @property
    def __name__(self):
        return self.qualname().rpartition(".")[2]

    @property
    def __qualname__(self):
        return self.qualname()

    @property
    def cr_await(self):
        return self._inner if self.state == DELEGATING else self.waiter

    @property
    def cr_running(self):
        return False

    @property
    def cr_suspended(self):
        return self.state == PARKED or self.state == DELEGATING

    @property
    def cr_frame(self):
        return None if self._inner is None else self._inner.cr_frame

    @property
    def cr_code(self):
        return None if self._inner is None else self._inner.cr_code

    @property
    def cr_origin(self):
        return None

    def __repr__(self):
        return f"<coroutine object {self.qualname()} at {<size_t> <void*> self:#x}>"

    cdef int drop(self) except -1:
        """Nobody will step it any more."""
        cdef str name
        if self.state == CREATED:
            self.state = DONE
            name = self.qualname()
            PyErr_WarnFormat(RuntimeWarning, 1, b"coroutine '%U' was never awaited", <PyObject*> name)
        else:
            self.close()
        return 0

    def __del__(self):
        if self.state == CREATED:
            self.drop()


@cython.final
cdef class Steps:
    """An operation for ``yield from``: an iterable, which a coroutine must not be."""

    cdef Operation _operation

    def __init__(self, operation):
        self._operation = operation

    def __iter__(self):
        return self

    def __next__(self):
        return self._operation.send(None)

    def send(self, value):
        return self._operation.send(value)

    def throw(self, typ, value=None, traceback=None):
        return self._operation.throw(typ, value, traceback)

    def close(self):
        self._operation.close()


cdef Operation step_await_checked(Operation operation):
    if operation.state != CREATED:
        raise RuntimeError("cannot reuse already awaited coroutine")
    return operation


cdef PyObject* step_await(PyObject* self) except NULL:
    """am_await."""
    cdef Operation operation = step_await_checked(<Operation> self)
    Py_INCREF(operation)
    return <PyObject*> operation


cdef int step_send(PyObject* self, PyObject* sent, PyObject** result) except -1:
    """am_send: a result without a StopIteration."""
    cdef Operation operation = <Operation> self
    cdef int outcome
    result[0] = NULL
    outcome = operation._step(<object> sent)
    cdef object value = operation.value
    operation.value = None
    Py_INCREF(value)
    result[0] = <PyObject*> value
    return PYGEN_RETURN if outcome == RETURNED else PYGEN_NEXT


cdef PyObject* step_next(PyObject* self) except? NULL:
    """tp_iternext: what `await` uses where am_send is not."""
    cdef Operation operation = <Operation> self
    cdef int outcome = operation._step(None)
    cdef object value = operation.value
    operation.value = None
    if outcome == YIELDED:
        Py_INCREF(value)
        return <PyObject*> value
    if value is not None:
        PyErr_SetObject(StopIteration, StopIteration(value) if isinstance(value, (tuple, BaseException)) else value)
    return NULL


cdef bint may_reuse(Operation operation):
    """Whether an operation that is done has no holder but the place where the caller found it; it is made anew."""
    if ws_holders(<PyObject*> operation) != 2:   # that place, and the caller's variable
        return False
    if operation.state != DONE:
        operation.drop()
    operation.state = CREATED
    return True


cdef int make_steppable(type cls) except -1:
    """Give a concrete operation class its C slots: they are inherited before they can be set in the base class."""
    ws_set_step_slots(<PyTypeObject*> cls, step_await, step_next, step_send)
    return 0


cdef int mark_coroutine_function(object function) except -1:
    """Let a method that returns an operation pass for what it stands for, a coroutine function: for `unittest.mock`."""
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(function)
    else:
        # Python 3.11 has no other way to say so, and Cython's functions none to change their code.
        code = function.__code__
        code = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
        ws_set_function_code(function, code)
    return 0
