# cython: auto_pickle=False, autotestdict=False
"""Pushing: sending without waiting, under a policy for peers that do not keep up."""

from picows_aio.endpoint cimport CLOSED
from picows_aio.send_budget cimport SendBudget
from picows_aio.sending cimport SendingEndpoint, opcode_of

from picows_aio.exceptions import ConcurrencyError, ConnectionClosed
from picows_aio.frames import CloseCode
from picows_aio.send_policy import PushOutcome, PushStats

cdef double EVICTION_TIMEOUT = 1.0   # seconds that a peer has to take its eviction note


cdef class PushingEndpoint(SendingEndpoint):
    """The side of a connection that pushes; base of :class:`Connection`."""

    @property
    def send_policy(self):
        """The :class:`picows_aio.SendPolicy` of messages that :meth:`push` and :func:`picows_aio.broadcast` bring, None
        at first. Can be set at any time.
        """
        return None if self._budget is None else self._budget.policy

    @send_policy.setter
    def send_policy(self, policy):
        self.send_budget().use(policy)

    def push(self, message, *, text=None, policy=None):
        """Send a whole message without waiting, or do with it what the policy says when too much waits to be sent.

        It does not stand in line behind calls of :meth:`send` that wait.

        Args:
            message: A str is sent as text, bytes-like objects as binary.
            text: True sends bytes as text, False a str as binary.
            policy: A :class:`picows_aio.SendPolicy` for this message; None: :attr:`send_policy`, and where that is None
                too, the message is queued however much waits.

        Returns:
            A :class:`picows_aio.PushOutcome`.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ConcurrencyError: A message is being sent in fragments; ``"latest"`` keeps the message aside instead.
            TypeError: The message or the policy has another type.
        """
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            raise TypeError("data must be str or bytes")
        if not self.is_open():
            raise self._closed_error()
        if policy is None:
            policy = self.send_policy
        if policy is not None:
            return self.send_budget().push(opcode_of(message, text), message, policy, not self._is_sending_fragments)
        if self._is_sending_fragments:
            raise ConcurrencyError("sending a fragmented message")
        self._send_data(opcode_of(message, text), message, None, True)
        return PushOutcome.SENT

    def push_stats(self):
        """What became of the messages pushed under a policy, a :class:`picows_aio.PushStats`."""
        return PushStats() if self._budget is None else self._budget.stats()

    def shareable_transport(self):
        """For :func:`picows_aio.broadcast`: the transport of a connection that is open and has no policy, when its next
        frame may be the same as that of others; else None.
        """
        if not self.is_open() or self._is_sending_fragments:
            return None
        if self._deflate is not None or self._extensions is not None:
            return None
        if self._budget is not None and self._budget.policy is not None:
            return None
        return self._transport

    async def drained(self):
        """Wait until no more than the low mark of ``write_limit`` waits to be sent, or the connection is closed."""
        try:
            await self._drain()
        except ConnectionClosed:
            pass

    def is_writing_paused(self):
        """Whether the connection was over its ``write_limit`` and has not drained yet."""
        return bool(self._is_write_paused) and self._state != CLOSED

    cpdef SendBudget send_budget(self):
        """What decides about messages under a policy; made when first needed."""
        if self._budget is None:
            self._budget = SendBudget(self, self._loop, self._write_limit[0])
        return self._budget

    def evict(self, why):
        """Close with 1013, and drop the connection soon, because its peer does not read."""
        self.logger.warning("%s", why)
        self._close_cause = ConnectionError(why)
        if self._close_timeout is None or self._close_timeout > EVICTION_TIMEOUT:
            self._close_timeout = EVICTION_TIMEOUT
        self._start_close(CloseCode.TRY_AGAIN_LATER, "reads too slowly")

    cdef int resume_pushes(self) except -1:
        if self._budget is not None:
            self._budget.resume()
        return 0

    cdef int finish_pushes(self) except -1:
        if self._budget is not None:
            self._budget.finish(not self._is_sending_fragments)
        return 0

    cdef int close_pushes(self) except -1:
        """The connection is gone: what was kept aside counts as dropped."""
        if self._budget is not None:
            self._budget.close()
        return 0
