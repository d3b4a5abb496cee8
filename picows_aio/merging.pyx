# cython: auto_pickle=False, autotestdict=False
"""One loop over many connections.

Each connection has a reader that only says when there is something; those that have something stand in a line, and
each gives one message when its turn comes. Connections know of their reader, the readers of the state they share; the
`Merge` that a program holds is known to none of them, so that dropping it sets the connections free.
"""

import asyncio
from collections import deque

from cpython.ref cimport PyObject
from picows_aio.awaitable cimport Operation, is_abandoned, make_steppable
from picows_aio.endpoint cimport CLOSED
from picows_aio.messages cimport whole
from picows_aio.inbox cimport MESSAGES, InboxEndpoint, ReadOperation
from picows_aio.waiter cimport Waiter

from picows_aio.arguments import check_plain_function
from picows_aio.exceptions import ConcurrencyError, ConnectionClosedOK


cdef class MergedReader(ReadOperation):
    """The one reader of a connection, for as long as the merge lasts. It is never awaited."""

    cdef int notify(self) except -1:
        return self._state.ready(self)

    cdef object who(self):
        return "merge()"


cdef class MergeState:
    """The connections of a merge, and who waits for them."""

    def __init__(self, connections, on_closed):
        self._loop = asyncio.get_running_loop()
        self._readers = []
        self._ready = deque()
        self._on_closed = on_closed
        try:
            for connection in connections:
                self._claim(connection)
        except BaseException:
            self.release()
            raise

    cdef int _claim(self, InboxEndpoint endpoint) except -1:
        cdef MergedReader reader
        if endpoint._loop is not self._loop:
            raise RuntimeError("merge() was given a connection of another event loop")
        endpoint._begin_read(MESSAGES, "merge")
        reader = MergedReader.__new__(MergedReader)
        reader.endpoint = endpoint
        reader.cancel_warning()
        reader._state = self
        endpoint._reader = reader
        self._readers.append(reader)
        return self.ready(reader)   # it may have something already

    cdef int ready(self, MergedReader reader) except -1:
        """The connection of this reader may have something."""
        cdef Waiter waiter = self._waiter
        if not reader._is_ready:
            reader._is_ready = True
            self._ready.append(reader)
        if waiter is not None:
            waiter.wake()
        return 0

    cdef object next_pair(self):
        """A connection and its oldest message, of the connection whose turn it is; None: nobody has any."""
        cdef MergedReader reader
        cdef InboxEndpoint endpoint
        while self._ready:
            reader = self._ready.popleft()
            reader._is_ready = False
            endpoint = reader.endpoint
            if endpoint._queue.count == 0 and endpoint._transport is not None:
                endpoint.unpause()
                endpoint._transport.deliver_held_back()
            if endpoint._queue.count > 0:
                message = whole(endpoint._take(), None)
                if not reader._is_ready:
                    reader._is_ready = True
                    self._ready.append(reader)   # there may be more
                return endpoint, message
            if endpoint._state == CLOSED:
                self._finish(reader)
        return None

    cdef int _finish(self, MergedReader reader) except -1:
        """A connection is closed and all its messages were taken."""
        cdef InboxEndpoint endpoint = reader.endpoint
        self._readers.remove(reader)
        endpoint._reader = None
        error = endpoint._closed_error()
        if self._on_closed is not None:
            self._on_closed(endpoint, error)
        elif not isinstance(error, ConnectionClosedOK):
            raise error
        return 0

    cdef int release(self) except -1:
        """The connections can be received from in other ways again."""
        cdef MergedReader reader
        cdef list readers = self._readers
        self._readers = []
        self._ready.clear()
        for reader in readers:
            if reader.endpoint._reader is reader:
                reader.endpoint._reader = None
        return 0


cdef class Merge:
    """Iterates over pairs of a connection and a message; made by :func:`picows_aio.merge`."""

    def __init__(self, connections, on_closed):
        self._state = MergeState(connections, on_closed)

    def __aiter__(self):
        return self

    def __anext__(self):
        cdef MergeOperation operation = MergeOperation.__new__(MergeOperation)
        operation._state = self._state
        operation._merge = self
        return operation

    async def aclose(self):
        """Let go of the connections, which stay open and keep what was not taken; a task that waits sees its iteration
        end.
        """
        self._close()

    def _close(self):
        cdef MergeState state = self._state
        state.release()
        if state._waiter is not None:
            state._waiter.wake()

    async def __aenter__(self):
        return self

    async def __aexit__(self, exc_type, exc, traceback):
        self._close()

    def __del__(self):
        if self._state is not None:
            self._state.release()


cdef class MergeOperation(Operation):
    """Takes the next message, or waits for it."""

    cdef bint advance(self) except -1:
        cdef MergeState state = self._state
        if state is None:
            raise TypeError("made by merge() only")
        if self._has_begun:
            state._waiter = None
        elif state._waiter is not None and not is_abandoned(<PyObject*> state._waiter):
            raise ConcurrencyError("another coroutine iterates over this merge() already")
        self._has_begun = True
        self.value = state.next_pair()
        if self.value is not None:
            return True
        if not state._readers:
            raise StopAsyncIteration
        state._waiter = self.waiter = Waiter.create(state._loop)
        return False

    cdef int abandon(self) except -1:
        if self._state._waiter is self.waiter:
            self._state._waiter = None
        return 0

    cdef str qualname(self):
        return "Merge.__anext__"


make_steppable(MergeOperation)


def merge(*connections, on_closed=None):
    """Iterate over the messages of several connections: pairs of a connection and a message.

    Fair: each connection that has messages gives one in its turn. While the merge lasts it is the one reader of all of
    them; it ends when all are closed, when it is closed with ``aclose()`` or ``async with``, or dropped. What was not
    taken stays with the connections.

    Args:
        connections: Connections, each once.
        on_closed: Called with a connection that is closed and the :exc:`ConnectionClosed` that says why, after its
            last message. None: a normal end is passed over in silence, any other is raised; iterating goes on with the
            other connections if that is caught.

    Raises:
        TypeError: Something is no connection, or `on_closed` no plain function.
        ConcurrencyError: A connection is given twice, or somebody receives from it.
        RuntimeError: A connection belongs to another event loop.
    """
    for connection in connections:
        if not isinstance(connection, InboxEndpoint):
            raise TypeError(f"merge() takes connections, not {type(connection).__name__}")
    if on_closed is not None and not callable(on_closed):
        raise TypeError(f"on_closed must be a function of a connection and an error, not {type(on_closed).__name__}")
    check_plain_function("on_closed", on_closed)
    return Merge(connections, on_closed)
