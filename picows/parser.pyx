# cython: auto_pickle=False, autotestdict=False
"""From a stream of bytes to frames (RFC 6455 section 5.2), however the stream is cut.

A read goes to one of two places. Normally to the scratch all connections of the thread share: frames are views into it,
and what is left of a partial small frame moves to `_rest` until the next read. A frame whose payload did not arrive
with its header gets memory of exactly its size, and further reads go straight into it: one allocation, no growing, and
the finished frame owns a ready bytes object. Memory follows what has arrived, not what was announced.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN
from libc.stdint cimport UINT64_MAX, int64_t
from libc.string cimport memcpy
from picows.buffer cimport BLOCK_SIZE, READ_SIZE
from picows.closing cimport violation
from picows.frame cimport set_opcode
from picows.native cimport (
    MASK, WS_INCOMPLETE, WS_OK, WS_OPCODE_CLOSE, WS_RSV1, WS_RSV2, WS_RSV3, ws_check_close, ws_check_header,
    ws_check_text,
    ws_clock_ns, ws_decode_header, ws_end_frame, ws_frame_wants_text_check, ws_key_at, ws_recv, ws_would_block,
)

from picows.enums import WSCloseCode
from picows.errors import WSProtocolError

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define ws_is_kept(frame) 1   /* a reference count proves nothing while other threads run */
    #define ws_is_held(frame) 1
    #else
    #define ws_is_kept(frame) (Py_REFCNT(frame) != 2)   /* the parser and the loop that delivers it */
    #define ws_is_held(frame) (Py_REFCNT(frame) != 1)   /* the variable that asks */
    #endif
    """
    bint ws_is_kept(PyObject* frame) noexcept
    bint ws_is_held(PyObject* frame) noexcept

cdef enum:
    SMALL_FRAME = 16384        # bytes: a smaller partial frame waits in `_rest` and is read again with what follows
    RESERVED_AT_ONCE = 1 << 20  # bytes: larger payloads are reserved when ARRIVED_FIRST of them have come
    ARRIVED_FIRST = 65536      # bytes
    FLOOD_FRAME = 256          # bytes: larger reads are for frames of this size and more on average, see `_end_scratch`
    POLLER_QUIET_NS = 10_000_000   # a connection that was not read for so long is not active


@cython.final
cdef class FrameParser:
    """The rules for one direction of one connection, and the memory its bytes arrive in."""

    def __init__(
        self, *, bint expects_mask, max_frame_size, bint strict, int allowed_rsv, bint validate_utf8, ReadPool pool
    ):
        self._rules.max_payload_size = UINT64_MAX if max_frame_size is None else max_frame_size
        self._rules.expects_mask = expects_mask
        self._rules.strict = strict
        self._rules.allowed_rsv = <uint8_t> allowed_rsv
        self._rules.validate_utf8 = validate_utf8
        self._pool = pool
        self._read_size = READ_SIZE

    cdef object read_target(self, size_t least):
        """A writable view for the event loop's next read, never empty.

        Args:
            least: Bytes it should have room for. A TLS transport that cannot empty its own buffer into ours in one go
                loses the rest when the end of the stream is there already.
        """
        cdef size_t kept = 0 if self._rest is None else self._rest.size
        cdef ReadBuffer separate = self._separate_target(kept, least)
        if separate is not None:
            return memoryview(separate)
        view = self._scratch.writable_view(self._scratch_room(self._scratch))
        return view if kept == 0 else view[kept:]

    cdef int64_t read(self, int fd, size_t* room) except? -1:  # hot
        """Read from the socket, for `received`.

        Returns:
            Bytes, 0 at the end of the stream, or a negative errno; `room` is set to how many bytes it could have been.
        """
        cdef size_t kept = 0 if self._rest is None else self._rest.size
        cdef ReadBuffer separate = self._separate_target(kept, 0)
        cdef uint8_t* target
        cdef int64_t result
        if separate is None:
            room[0] = self._scratch_room(self._scratch) - kept
            return ws_recv(fd, self._scratch.buffer.data + self._scratch.pos + kept, room[0])
        target = separate.data
        room[0] = separate.size
        with nogil:  # hot: a large payload is worth it
            result = ws_recv(fd, target, room[0])
        return result

    cdef ReadBuffer _separate_target(self, size_t kept, size_t least):
        """Memory of its own for the next read; None: it goes to the scratch, which is then chosen."""
        cdef size_t missing
        self._forget_target()
        if self._is_delivering or self.is_held_back or max(least, <size_t> 1) > self._room(kept):
            self._aside = ReadBuffer.allocate(max(least, <size_t> READ_SIZE))
            return self._aside
        if self._large_payload is not None:
            # One byte more than the payload needs (the NUL of the bytes object): a read that does not fill its buffer
            # tells that the socket is empty, and saves the call that would find out.
            missing = PyBytes_GET_SIZE(self._large_payload) - self._large_filled
            self._large_view = ReadBuffer.over(self._large_payload, self._large_filled, missing + 1)
            return self._large_view
        self._scratch = self._pool.peek()
        return None

    cdef void _forget_target(self) noexcept:
        """What the loop asked for last may never have been read into: TLS transports ask before they know."""
        self._aside = None
        self._large_view = None

    cdef size_t _room(self, size_t kept):
        """Bytes that the next read can bring, behind those that are kept; 0 when these leave none."""
        if self._large_payload is not None:
            return PyBytes_GET_SIZE(self._large_payload) - self._large_filled
        cdef size_t room = self._scratch_room(self._pool.peek())
        return room - kept if kept < room else 0

    cdef size_t _scratch_room(self, ReadScratch scratch):
        """Bytes that the next read and what is kept before it may take of the scratch."""
        return min(self._read_size, BLOCK_SIZE - scratch.free_pos())

    cdef int received(self, size_t size) except -1:
        """The loop wrote `size` bytes into the view that `read_target` gave.

        Returns:
            1 when frames may be delivered now, 0 when the bytes had to be put behind others.
        """
        cdef ReadBuffer rest = self._rest
        if self._aside is not None:
            return self._received_aside(size)
        self._is_delivering = True
        if self._large_view is not None:
            self._large_received(size)
            return 1
        self._scratch.is_in_use = True
        self._source = self._scratch.buffer
        self._pos = self._source.data + self._scratch.pos
        self._end = self._pos + size
        if rest is not None:
            memcpy(self._pos, rest.data, rest.size)
            self._end += rest.size
            self._rest = None
        return 1

    cdef int _received_aside(self, size_t size) except -1:
        """Put what came behind what waits; it is delivered now unless that is under way or held back."""
        cdef ReadBuffer rest = self._rest
        cdef ReadBuffer aside = self._aside
        self._aside = None
        if rest is None:
            aside.size = size
            self._rest = aside
        else:
            self._set_rest(rest.data, rest.size, aside.data, size)
        if self._is_delivering or self.is_held_back:
            self.is_held_back = True
            return 0
        self.take_rest()
        return 1

    cdef int take_rest(self) except -1:
        """Deliver what was held back, without a new read."""
        cdef size_t taken
        self.is_held_back = False
        self._is_delivering = True
        if self._rest is None:
            return 0
        self._source = self._rest
        self._rest = None
        self._pos = self._source.data
        self._end = self._pos + self._source.size
        while self._pos < self._end and self._large_missing() > 0:
            taken = min(<size_t> (self._end - self._pos), PyBytes_GET_SIZE(self._large_payload) - self._large_filled)
            memcpy(PyBytes_AS_STRING(self._large_payload) + self._large_filled, self._pos, taken)
            self._pos += taken
            self._large_received(taken)
        return 0

    cdef bint has_unparsed(self):
        """Whether bytes of the present delivery are not parsed yet (they need not be a whole frame)."""
        return self._pos < self._end

    cdef WSFrame next_frame(self):  # hot
        """The next complete frame, or None until more bytes arrive.

        The frame is reused for the next one unless `recycle` finds that somebody kept it.
        """
        cdef:
            ws_frame_header header
            size_t unread = self._end - self._pos
            uint8_t* payload
            int status = WS_OK
        if self._large_payload is not None:
            return self._large_frame()
        if self._ahead_pos != NULL and self._ahead_pos == self._pos:
            header = self._ahead
        else:
            status = ws_decode_header(self._pos, unread, &header)
            if status == WS_INCOMPLETE:
                return None
            if status == WS_OK:
                status = ws_check_header(&self._rules, &header)
            if status != WS_OK:
                self._fail(status, &header)
        # Subtract, do not add: the peer chose payload_len, and a sum can wrap around.
        if header.payload_len > unread - header.size:
            if header.payload_len > SMALL_FRAME or ws_frame_wants_text_check(&self._rules, &header):
                self._begin_large(&header)
                return self._large_frame()
            return None
        payload = self._pos + header.size
        if header.has_mask:
            MASK.apply(payload, payload, header.payload_len, header.key)
        if ws_frame_wants_text_check(&self._rules, &header):
            status = ws_check_text(&self._rules, payload, header.payload_len)
        elif header.opcode == WS_OPCODE_CLOSE:
            status = ws_check_close(payload, header.payload_len)
        if status == WS_OK:
            status = ws_end_frame(&self._rules, &header)
        if status != WS_OK:
            self._fail(status, &header)
        self._pos = payload + header.payload_len
        return self._make_frame(&header, payload, self._source)  # hot: the frame itself is counted

    cdef WSFrame _make_frame(self, const ws_frame_header* header, uint8_t* payload, object owner):  # hot
        cdef WSFrame frame = self._spare
        if frame is None:
            frame = WSFrame.__new__(WSFrame)  # hot: only when the last one was kept
            self._spare = frame
        if frame.owner is not owner:
            frame.owner = owner
        frame.payload_ptr = <char*> payload
        frame.payload_size = <Py_ssize_t> header.payload_len
        set_opcode(frame, header.opcode)
        frame.fin = header.fin
        frame.rsv1 = header.rsv & WS_RSV1 != 0
        frame.rsv2 = header.rsv & WS_RSV2 != 0
        frame.rsv3 = header.rsv & WS_RSV3 != 0
        frame.tail_size = self._end - self._pos
        frame.last_in_buffer = self._end == self._pos or not self._has_whole_frame()
        frame.copies_views = self._pool.copies_small_views
        self._frames_in_read += 1
        return frame

    cdef bint _has_whole_frame(self) noexcept:  # hot
        """Whether the bytes that are not parsed yet begin with a whole and acceptable frame."""
        cdef ws_frame_header* header = &self._ahead
        cdef size_t unread = self._end - self._pos
        self._ahead_pos = NULL
        if ws_decode_header(self._pos, unread, header) != WS_OK or ws_check_header(&self._rules, header) != WS_OK:
            return False
        if header.payload_len > unread - header.size:
            return False
        self._ahead_pos = self._pos
        return True

    cdef int recycle(self, WSFrame frame) except -1:  # hot
        """The callbacks for `frame` are over: reuse it, unless somebody kept it."""
        if ws_is_kept(<PyObject*> frame):
            frame.next_kept = self._kept
            self._kept = frame
            self._spare = None
        return 0

    cdef int settle_kept(self) except -1:
        """The frames that somebody kept were worth no copy as long as the read was being delivered: those that are
        still kept leave the read buffer if they are small.
        """
        cdef WSFrame frame
        while self._kept is not None:
            frame = self._kept
            self._kept = frame.next_kept
            frame.next_kept = None
            if ws_is_held(<PyObject*> frame) and frame.was_kept():
                self._pool.copies_small_views = True
        return 0

    cdef int forget_frame(self) except -1:
        """The callbacks for a frame failed; a traceback may hold it, so it is not used again."""
        self._spare = None
        return 0

    cdef bytes take_raw(self, size_t size):
        """What the loop read, before frames were to be expected."""
        return PyBytes_FromStringAndSize(<char*> self._scratch.buffer.data + self._scratch.pos, size)

    cdef int note_poller_read(self, int64_t now) except -1:
        """The event loop read this connection, which may poll, or opened it."""
        if self._pool.latest_poller != <void*> self:
            self._pool.other_read_ns = self._pool.latest_read_ns
            self._pool.latest_poller = <void*> self
        self._pool.latest_read_ns = now
        return 0

    cdef int leave_pollers(self) except -1:
        """The connection has ended."""
        if self._pool.latest_poller == <void*> self:
            self._pool.latest_poller = NULL
            self._pool.latest_read_ns = 0
        else:
            self._pool.other_read_ns = 0
        return 0

    cdef bint is_only_poller(self, int64_t window):
        """Whether no other connection that may poll was active lately: it would have to wait while this one polls.

        Args:
            window: How long this one polls, in nanoseconds.
        """
        return (
            self._pool.latest_poller == <void*> self
            and self._pool.latest_read_ns - self._pool.other_read_ns > max(<int64_t> POLLER_QUIET_NS, 2 * window)
        )

    cdef int64_t poll(self, int fd, int64_t nanoseconds) except? -1:
        """Read from the socket until something comes or time is up; then as if the loop had read it.

        Returns:
            Bytes for `received`, 0 at the end of the stream, or a negative errno.
        """
        cdef size_t kept = 0 if self._rest is None else self._rest.size
        cdef uint8_t* target
        cdef size_t room
        cdef int64_t result, deadline = ws_clock_ns() + nanoseconds
        if self._large_payload is not None or self.is_held_back or self._is_delivering:
            return -EAGAIN
        self._forget_target()
        self._scratch = self._pool.peek()
        room = self._room(kept)
        if room == 0:
            return -EAGAIN
        target = self._scratch.buffer.data + self._scratch.pos + kept
        with nogil:
            while True:
                result = ws_recv(fd, target, room)
                if not ws_would_block(result) or ws_clock_ns() >= deadline:
                    break
        return result

    cdef int end_read(self, bint hold_back) except -1:
        """The delivery is over: keep what is left of it, give the scratch back.

        Args:
            hold_back: Whole frames among what is left wait for `take_rest`.
        """
        cdef size_t left = self._end - self._pos
        cdef size_t used_end
        if left > 0:
            if self._rest is None:
                self._set_rest(self._pos, left, NULL, 0)
            else:
                self._set_rest(self._pos, left, self._rest.data, self._rest.size)
        if hold_back and (left > 0 or (self._large_payload is not None and self._large_missing() == 0)):
            self.is_held_back = True
        self.settle_kept()
        if self._spare is not None:
            self._spare.owner = None
        if self._scratch is not None and self._scratch.is_in_use and self._source is self._scratch.buffer:
            used_end = self._end - self._source.data
            self._source = None
            self._end_scratch(used_end)
        self._source = None
        self._pos = self._end = self._ahead_pos = NULL
        self._is_delivering = False
        return 0

    cdef int _end_scratch(self, size_t used_end) except -1:
        """Give the scratch back, whose bytes end at `used_end`, and choose how much the next read may bring.

        A flood is read in larger parts as long as all of it is taken at once: more whole frames come in one read, and
        fewer in two, which costs a copy. Not one of tiny frames: some thousand are enough for a turn of the event loop.
        What waits or is kept stays as little as without floods, and of a payload that no read could hold, which is read
        straight to where it stays, the less is copied the less came before.
        """
        cdef size_t size = used_end - self._scratch.pos
        cdef bint is_full = size >= min(self._read_size, BLOCK_SIZE - self._scratch.pos)
        cdef bint is_kept = self._scratch.release(used_end)
        cdef bint is_huge = self._large_payload is not None and self._large_header.payload_len >= BLOCK_SIZE
        cdef bint is_of_tiny_frames = size < FLOOD_FRAME * self._frames_in_read
        if is_kept or is_huge or is_of_tiny_frames or self.is_held_back or size < READ_SIZE:
            self._read_size = READ_SIZE
        elif is_full:
            self._read_size = BLOCK_SIZE
        self._frames_in_read = 0
        return 0

    cdef int discard(self) except -1:
        """Forget everything that was received and not delivered."""
        self._pos = self._end
        self._rest = None
        self.is_held_back = False
        self._large_payload = None
        self._large_view = None
        self._large_failure = None
        return 0

    cdef int _set_rest(
        self, const uint8_t* first, size_t first_size, const uint8_t* second, size_t second_size
    ) except -1:
        cdef ReadBuffer rest = ReadBuffer.allocate(first_size + second_size)
        if first_size > 0:
            memcpy(rest.data, first, first_size)
        if second_size > 0:
            memcpy(rest.data + first_size, second, second_size)
        self._rest = rest
        return 0

    cdef int _fail(self, int status, const ws_frame_header* header) except -1:
        raise violation(status, header.payload_len, self._rules.max_payload_size)

    cdef int _begin_large(self, const ws_frame_header* header) except -1:
        """The payload did not arrive whole: give it memory of its own and move what has come there."""
        cdef size_t capacity = header.payload_len
        cdef size_t arrived = self._end - self._pos - header.size
        if capacity > RESERVED_AT_ONCE and arrived < ARRIVED_FIRST:
            capacity = ARRIVED_FIRST
        self._large_payload = reserve(capacity)
        self._large_header = header[0]
        self._large_filled = arrived
        self._large_unmasked = 0
        memcpy(PyBytes_AS_STRING(self._large_payload), self._pos + header.size, arrived)
        self._pos = self._end
        return self._large_advance()

    cdef size_t _large_missing(self):
        """Bytes that the payload under way still needs; 0 when there is none."""
        return 0 if self._large_payload is None else self._large_header.payload_len - self._large_filled

    cdef int _large_received(self, size_t size) except -1:
        """`size` bytes went into the payload under way; the last may be the first byte of what follows it."""
        cdef size_t capacity = PyBytes_GET_SIZE(self._large_payload)
        cdef bytes grown
        cdef char* memory
        self._large_view = None
        self._large_filled += size
        if capacity < self._large_header.payload_len and self._large_filled >= capacity:
            try:
                grown = reserve(self._large_header.payload_len)
            except WSProtocolError as exc:
                self._large_failure = exc
                return 0
            memcpy(PyBytes_AS_STRING(grown), PyBytes_AS_STRING(self._large_payload), self._large_filled)
            self._large_payload = grown
        elif self._large_filled > capacity:
            memory = PyBytes_AS_STRING(self._large_payload)
            self._set_rest(<const uint8_t*> memory + capacity, 1, NULL, 0)
            memory[capacity] = 0
            self._large_filled = capacity
        return self._large_advance()

    cdef int _large_advance(self) except -1:
        """Unmask and check what has newly arrived, while it is in the cache.

        Bad text fails before the frame is complete: `next_frame` then says so, because a read must not raise.
        """
        cdef:
            uint8_t* fresh = <uint8_t*> PyBytes_AS_STRING(self._large_payload) + self._large_unmasked
            size_t size = self._large_filled - self._large_unmasked
            int status = WS_OK
        if self._large_header.has_mask:
            MASK.apply(fresh, fresh, size, ws_key_at(self._large_header.key, self._large_unmasked))
        self._large_unmasked = self._large_filled
        if ws_frame_wants_text_check(&self._rules, &self._large_header):
            status = ws_check_text(&self._rules, fresh, size)
        if status != WS_OK:
            self._large_failure = violation(status, self._large_header.payload_len, self._rules.max_payload_size)
        return 0

    cdef WSFrame _large_frame(self):
        """The frame whose payload was read into memory of its own, or None while bytes of it are missing."""
        cdef bytes payload = self._large_payload
        cdef int status
        if self._large_failure is not None:
            raise self._large_failure
        if self._large_missing() > 0:
            return None
        self._large_payload = None
        status = ws_end_frame(&self._rules, &self._large_header)
        if status != WS_OK:
            self._fail(status, &self._large_header)
        return self._make_frame(&self._large_header, <uint8_t*> PyBytes_AS_STRING(payload), payload)


cdef bytes reserve(size_t size):
    """Memory for a payload, which costs nothing until it is written to; WSProtocolError when there is none."""
    try:
        return PyBytes_FromStringAndSize(NULL, size)
    except (MemoryError, OverflowError):
        raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, f"cannot reserve {size} bytes for a frame") from None
