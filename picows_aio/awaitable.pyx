# cython: auto_pickle=False, autotestdict=False
"""Awaitables without a coroutine object.

An `Operation` is what `recv()` or `send()` returns: a coroutine as far as `await`, asyncio's tasks and
`collections.abc.Coroutine` can tell. When there is nothing to wait for, it finishes in its first step without touching
the event loop. Otherwise it yields the future of a `Waiter`.
"""

import inspect

cimport cython
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF, PyObject
from picows_aio.waiter cimport ws_holders

cdef extern from "Python.h":
    ctypedef int (*sendfunc)(PyObject*, PyObject*, PyObject**) except -1
    ctypedef PyObject* (*iternextfunc)(PyObject*) except? NULL
    ctypedef PyObject* (*unaryfunc)(PyObject*) except NULL
    int PYGEN_RETURN
    int PYGEN_NEXT
    void PyErr_SetObject(object type, object value) noexcept
    int PyErr_WarnFormat(object category, Py_ssize_t stack_level, const char* format, ...) except -1

cdef extern from *:
    """
    static void ws_set_step_slots(PyTypeObject *type, unaryfunc await, iternextfunc next, sendfunc send)
    {
        type->tp_as_async->am_await = await;
        type->tp_as_async->am_send = send;
        type->tp_iternext = next;
    }
    """
    void ws_set_step_slots(PyTypeObject* type, unaryfunc await_, iternextfunc next, sendfunc send) noexcept

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
    #define WS_REUSES_STOP 1

    /* Raise a StopIteration that has been raised before, unless somebody has kept it or seen it pass. It keeps `value`
     * until the next time. */
    static int ws_raise_again(PyObject **kept, PyObject *value)
    {
        PyStopIterationObject *stop = (PyStopIterationObject *) *kept;
        if (stop == NULL || Py_REFCNT(stop) != 1 || stop->traceback != NULL || stop->context != NULL) {
            PyObject *fresh = PyObject_CallNoArgs(PyExc_StopIteration);
            if (fresh == NULL)
                return -1;
            Py_XSETREF(*kept, fresh);
            stop = (PyStopIterationObject *) fresh;
        }
        Py_XSETREF(stop->value, Py_NewRef(value));
        PyErr_SetRaisedException(Py_NewRef((PyObject *) stop));
        return 0;
    }
    #else   /* in Python 3.11 `await` takes am_send; without the GIL a reference count proves nothing */
    #define WS_REUSES_STOP 0
    static int ws_raise_again(PyObject **kept, PyObject *value) { return -1; }
    #endif
    """
    bint WS_REUSES_STOP
    int ws_raise_again(PyObject** kept, object value) except -1

cdef extern from *:
    """
    #define ws_set_function_code(function, code) \
        do { Py_INCREF(code); Py_SETREF(((__pyx_CyFunctionObject *) (function))->func_code, (code)); } while (0)
    """
    void ws_set_function_code(object function, object code)

cdef enum:
    RETURNED = 1    # what _step() made
    YIELDED = 2

cdef enum:
    CHEAP_TO_KEEP = 4096   # bytes or characters of a result that may live until the next one

cdef PyObject* kept_stop = NULL   # the StopIteration that is raised again

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
            if self.waiter._is_pending():   # stepped by somebody who does not wait for what is yielded: wait on
                return self._yield_future()
            self.waiter = None
        self.state = DONE   # unless it parks: also when advance() raises
        if self.advance():
            return RETURNED
        if self._inner is not None:
            self.state = DELEGATING
            return self._step_inner(None)
        self.state = PARKED
        return self._yield_future()

    cdef int _yield_future(self) except -1:
        self.value = self.waiter.future
        self.value._asyncio_future_blocking = True
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
        if self.waiter is not None:
            self.waiter.forget()
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
        if self.state == DELEGATING:
            return self._inner
        return None if self.waiter is None else self.waiter.future

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
        _stop_with(value)
    return NULL


cdef int _stop_with(object value) except -1:
    """Raise StopIteration. From Python 3.12 on `await` has no faster way to a result, and to make the exception would
    take it longer than all the rest.
    """
    if WS_REUSES_STOP and (
        (type(value) is bytes and len(<bytes> value) <= CHEAP_TO_KEEP)
        or (type(value) is str and len(<str> value) <= CHEAP_TO_KEEP)
    ):
        return ws_raise_again(&kept_stop, value)
    PyErr_SetObject(StopIteration, StopIteration(value) if isinstance(value, (tuple, BaseException)) else value)
    return 0


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
