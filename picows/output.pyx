# cython: auto_pickle=False, autotestdict=False
"""The write path of one connection: one system call where it can be one, and no copy that is not needed.

While the transport holds nothing, frames go to the socket directly; what the socket does not take is handed to the
transport, as bytes that nobody else writes to. Small frames can be gathered: under `cork()`, or with `coalesce` all but
the first frame of a turn. Gathered bytes never wait longer than the turn: the end of a read flushes them, outside a
read a callback does.
"""

from os import strerror

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libc.stdint cimport uint32_t
from picows.entropy cimport next_masking_key
from picows.native cimport (
    MASK, WS_HAS_DIRECT_IO, WS_MAX_HEADER_SIZE, ws_clock_ns, ws_encode_header, ws_header_size,
    ws_is_same_moment, ws_send, ws_send2, ws_would_block,
)

cdef enum:
    GATHER_SIZE = 65536          # bytes gathered at most
    GATHER_FRAME_SIZE = 32768    # bytes; a larger frame is never gathered
    SAME_TURN_NS = 50_000        # a send this soon after another belongs to the same turn of the loop
    GATHER_NS = 100_000          # a turn that lasts longer is written out in parts
    COPY_SIZE = 8192             # bytes; below it copying a payload behind its header is cheaper than a second iovec
    SCRATCH_SIZE = 524288        # bytes masked in one piece; more than that falls out of the CPU cache
    SLICE_SIZE = 262144          # bytes masked and sent at a time when a payload is larger
    FIRST_SCRATCH_SIZE = 65536
    TLS_PART_SIZE = 65536

# Bytes on their way to the socket. Used between two points at which no other Python code can run, in no thread, so one
# serves all.
cdef uint8_t* scratch = NULL
cdef size_t scratch_size = 0

# A block for gathering: taken when a turn needs one, so that idle connections hold none.
cdef uint8_t* spare_block = NULL


cdef uint8_t* scratch_of(size_t size) except NULL:
    global scratch, scratch_size
    if size <= scratch_size:
        return scratch
    cdef size_t new_size = FIRST_SCRATCH_SIZE if size <= FIRST_SCRATCH_SIZE else SCRATCH_SIZE + WS_MAX_HEADER_SIZE
    cdef uint8_t* memory = <uint8_t*> malloc(new_size)
    if memory == NULL:
        raise MemoryError(f"cannot allocate a write buffer of {new_size} bytes")
    free(scratch)
    scratch = memory
    scratch_size = new_size
    return scratch


cdef uint8_t* take_block() except NULL:
    global spare_block
    cdef uint8_t* block = spare_block
    spare_block = NULL
    if block == NULL:
        block = <uint8_t*> malloc(GATHER_SIZE)
        if block == NULL:
            raise MemoryError(f"cannot allocate {GATHER_SIZE} bytes to gather frames")
    return block


cdef void give_block(uint8_t* block):
    global spare_block
    if spare_block == NULL:
        spare_block = block
    else:
        free(block)


cdef class Output:
    """Sends frames through a socket and its transport, in order."""

    def __init__(
        self, transport, *, int fd, bint is_client_side, bint is_secure, bint coalesce, schedule_flush, on_failure
    ):
        self._transport = transport
        self._write = transport.write
        self._backlog_size = transport.get_write_buffer_size
        self._fd = fd if WS_HAS_DIRECT_IO else -1
        self._is_client_side = is_client_side
        self._is_secure = is_secure
        self._coalesces = coalesce
        self._schedule_flush = schedule_flush
        self._on_failure = on_failure
        self._may_have_backlog = True
        self._high_water = GATHER_SIZE

    def __dealloc__(self):
        if self._gathered != NULL:
            give_block(self._gathered)

    cdef int set_high_water(self, size_t size) except -1:
        """Gather no more bytes than the transport may hold before it pauses its protocol."""
        self._high_water = size
        return 0

    cdef int write_with(self, whole_writer writer) except -1:
        """Write to the transport by this function from now on."""
        self._write_whole = writer
        return 0

    cdef int send_frame(
        self, uint8_t opcode, const uint8_t* payload, size_t size, object keeper, bint fin, uint8_t rsv, bint more_input
    ) except -1:
        """Send one frame, or gather it.

        Args:
            keeper: What owns the payload: bytes that are the payload, which may be kept; anything else, or None, where
                the memory may change after the call.
            more_input: Frames of the read under delivery are still to come, so more output is likely.
        """
        self.frames_sent += 1
        if self._joins_gathered(opcode, size, more_input):
            return self._gather_or_write(opcode, payload, size, fin, rsv)
        self.flush()
        if self._is_client_side:
            self._send_masked(opcode, payload, size, fin, rsv)
        else:
            self._send_unmasked(opcode, payload, size, keeper, fin, rsv)
        if self._coalesces and not self._is_reading:
            self._latest_ns = ws_clock_ns()   # the turn goes on from here, however long the write took
        return 0

    cdef int send_in_place(self, uint8_t opcode, uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1:
        """Send a frame whose payload may be masked where it is; WS_MAX_HEADER_SIZE bytes before it are free for the
        header.
        """
        cdef size_t header_size = ws_header_size(size, self._is_client_side)
        cdef uint32_t key = 0
        self.frames_sent += 1
        if self._joins_gathered(opcode, size, False):
            return self._gather_or_write(opcode, payload, size, fin, rsv)
        self.flush()
        self._has_sent_in_read = True
        if self._is_client_side:
            key = next_masking_key()
            MASK.apply(payload, payload, size, key)
        ws_encode_header(payload - header_size, opcode, fin, rsv, size, self._is_client_side, key)
        return self._write_copy(payload - header_size, header_size + size)

    cdef int send_built(self, bytes frame) except -1:
        """Send a whole unmasked frame that many connections share; a backlog keeps a reference, not a copy."""
        cdef size_t size = PyBytes_GET_SIZE(frame)
        cdef int64_t sent = 0
        self.flush()
        self.frames_sent += 1
        self.bytes_sent += size
        self._has_sent_in_read = True
        if self._is_direct():
            sent = ws_send(self._fd, PyBytes_AS_STRING(frame), size)
            if sent == <int64_t> size:
                return 0
            if sent < 0:
                if not ws_would_block(sent):
                    return self._fail(sent)
                sent = 0
        return self._hand_over(frame if sent == 0 else memoryview(frame)[sent:])

    cdef int write_raw(self, bytes data) except -1:
        """Write bytes that are no frame: the opening handshake. They count in no total."""
        self.bytes_sent -= <uint64_t> PyBytes_GET_SIZE(data)
        return self._write_copy(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int flush(self) except -1:
        """Write out what was gathered."""
        cdef size_t size = self._gathered_size
        cdef uint8_t* block = self._gathered
        if size == 0:
            return 0
        self._gathered = NULL
        self._gathered_size = 0
        self.bytes_sent -= size   # _write_copy counts them; gathering did so already
        try:
            return self._write_copy(block, size)
        finally:
            give_block(block)

    cdef int cork(self) except -1:
        self._cork_depth += 1
        return 0

    cdef int uncork(self) except -1:
        self._cork_depth -= 1
        return self.flush() if self._cork_depth == 0 and not self._is_reading else 0

    cdef int begin_read(self) except -1:
        self._is_reading = True
        self._has_sent_in_read = False
        return 0

    cdef int end_read(self) except -1:
        self._is_reading = False
        return self.flush() if self._cork_depth == 0 else 0

    cdef object transport(self):
        return self._transport

    cdef object share(self):
        """The transport, for others: from now on ask it before every direct write."""
        if not self._is_stopped:
            self.flush()
        self._is_shared = True
        self._may_have_backlog = True
        return self._transport

    cdef int stop(self) except -1:
        """No write may happen any more: the socket is about to be closed, or was."""
        self._fd = -1
        self._is_stopped = True
        if self._gathered != NULL:
            give_block(self._gathered)
            self._gathered = NULL
            self._gathered_size = 0
        return 0

    cdef size_t backlog(self) except? 0:
        """Bytes accepted that the socket has not taken yet."""
        cdef size_t waiting = self._gathered_size
        if self._may_have_backlog and self._backlog_size is not None:
            try:
                waiting += <size_t> self._backlog_size()
            except AttributeError:   # asyncio's TLS transport, once it was closed twice
                pass
        return waiting

    cdef int lose(self) except -1:
        """The socket is gone."""
        self.stop()
        self._backlog_size = self._write = self._on_failure = None
        return 0

    cdef bint _joins_gathered(self, uint8_t opcode, size_t size, bint more_input) except -1:
        """Whether a frame goes into the block: to wait there, or because others do and it may not overtake them."""
        if self._is_to_be_gathered(opcode, size, more_input):
            return True
        return self._gathered_size > 0 and size <= GATHER_FRAME_SIZE

    cdef int _gather_or_write(
        self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv
    ) except -1:
        """Put a frame behind those that are gathered; a control frame takes all of them along."""
        self._gather(opcode, payload, size, fin, rsv)
        return self.flush() if opcode & 0x8 else 0

    cdef bint _is_to_be_gathered(self, uint8_t opcode, size_t size, bint more_input) except -1:
        cdef int64_t now
        if self._is_reading:
            if opcode & 0x8 == 0 and self._coalesces and not self._has_sent_in_read and not more_input:
                self._has_sent_in_read = True
                return self._cork_depth > 0 and size <= GATHER_FRAME_SIZE
            self._has_sent_in_read = True
        if size > GATHER_FRAME_SIZE or opcode & 0x8:
            return False
        if self._cork_depth > 0:
            return True
        if not self._coalesces:
            return False
        if self._is_reading:
            return True
        now = self._latest_ns if ws_is_same_moment(&self._moment) else ws_clock_ns()
        if now - self._latest_ns > SAME_TURN_NS and self._gathered_size == 0:
            self._latest_ns = now
            return False
        self._latest_ns = now
        if self._gathered_size > 0 and now - self._oldest_ns > GATHER_NS:
            self.flush()
            return False
        if not self._flush_is_armed:
            self._flush_is_armed = True
            self._schedule_flush(self._flush_armed)
        return True

    def _flush_armed(self):
        self._flush_is_armed = False
        if self._cork_depth == 0 and not self._is_stopped:
            self.flush()

    cdef int _gather(self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1:
        cdef size_t header_size = ws_header_size(size, self._is_client_side)
        cdef uint32_t key = 0
        cdef uint8_t* target
        while self._gathered_size + header_size + size > GATHER_SIZE:
            self.flush()   # may let a callback gather more
        if self._gathered == NULL:
            self._gathered = take_block()
            self._gather_room = self._room_above_backlog()
            if self._coalesces:
                self._oldest_ns = ws_clock_ns()
        target = self._gathered + self._gathered_size
        if self._is_client_side:
            key = next_masking_key()
            MASK.apply(target + header_size, payload, size, key)
        elif size > 0:
            memcpy(target + header_size, payload, size)
        ws_encode_header(target, opcode, fin, rsv, size, self._is_client_side, key)
        self._gathered_size += header_size + size
        self.bytes_sent += header_size + size
        return self.flush() if self._gathered_size > self._gather_room else 0

    cdef size_t _room_above_backlog(self) except? 0:
        """Bytes until the transport would pause its protocol."""
        cdef size_t waiting = self.backlog() if self._may_have_backlog else 0
        return min(<size_t> GATHER_SIZE, self._high_water - min(waiting, self._high_water))

    cdef bint _is_direct(self) except -1:
        """Whether bytes may go to the socket now: nothing that was accepted before waits in the transport."""
        if self._fd < 0 or self._deferred is not None:
            return False
        if not self._may_have_backlog:
            return True
        if self._backlog_size() != 0 or (self._is_shared and self._transport.is_closing()):
            return False
        self._may_have_backlog = self._is_shared
        return True

    cdef int _send_masked(self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1:
        cdef uint32_t key = next_masking_key()
        cdef uint8_t header[WS_MAX_HEADER_SIZE]
        cdef size_t header_size = ws_encode_header(header, opcode, fin, rsv, size, True, key)
        cdef uint8_t* target
        cdef bytes data
        if not self._is_direct():
            data = PyBytes_FromStringAndSize(NULL, header_size + size)
            target = <uint8_t*> PyBytes_AS_STRING(data)
            memcpy(target, header, header_size)
            MASK.apply(target + header_size, payload, size, key)
            self.bytes_sent += header_size + size
            return self._hand_over(data)
        if size > SCRATCH_SIZE:
            return self._send_in_slices(header, header_size, payload, size, key)
        target = scratch_of(header_size + size)
        memcpy(target, header, header_size)
        MASK.apply(target + header_size, payload, size, key)
        self.bytes_sent += header_size + size
        return self._write_direct(target, header_size + size)

    cdef int _send_in_slices(
        self, const uint8_t* header, size_t header_size, const uint8_t* payload, size_t size, uint32_t key
    ) except -1:
        """Mask a large payload a slice at a time, so that what the kernel copies is still in the cache."""
        cdef:
            uint8_t* target = scratch_of(SCRATCH_SIZE)
            size_t used = header_size
            size_t done = 0, count
            int64_t sent
            bytes rest
        self.bytes_sent += header_size + size
        memcpy(target, header, header_size)
        while True:
            # SLICE_SIZE is a multiple of 4, so each slice begins at the first octet of the key.
            count = min(size - done, <size_t> SLICE_SIZE)
            MASK.apply(target + used, payload + done, count, key)
            done += count
            used += count
            sent = ws_send(self._fd, target, used)
            if sent < 0:
                if not ws_would_block(sent):
                    return self._fail(sent)
                sent = 0
            if sent < <int64_t> used:
                break
            if done == size:
                return 0
            used = 0
        used -= sent
        rest = PyBytes_FromStringAndSize(NULL, used + size - done)
        memcpy(PyBytes_AS_STRING(rest), target + sent, used)
        MASK.apply(<uint8_t*> PyBytes_AS_STRING(rest) + used, payload + done, size - done, key)
        return self._hand_over(rest)

    cdef int _send_unmasked(
        self, uint8_t opcode, const uint8_t* payload, size_t size, object keeper, bint fin, uint8_t rsv
    ) except -1:
        cdef uint8_t header[WS_MAX_HEADER_SIZE]
        cdef size_t header_size = ws_encode_header(header, opcode, fin, rsv, size, False, 0)
        cdef uint8_t* target
        if size > COPY_SIZE:
            return self._send_two(header, header_size, payload, size, keeper)
        self.bytes_sent += header_size + size
        if not self._is_direct():
            return self._hand_over(build_frame(opcode, payload, size, fin, rsv))
        target = scratch_of(header_size + size)
        memcpy(target, header, header_size)
        if size > 0:
            memcpy(target + header_size, payload, size)
        return self._write_direct(target, header_size + size)

    cdef int _send_two(
        self, const uint8_t* header, size_t header_size, const uint8_t* payload, size_t size, object keeper
    ) except -1:
        """Header and payload with one system call, neither copied; only what the socket does not take may be."""
        cdef int64_t sent = 0
        cdef size_t payload_sent
        cdef object rest
        self.bytes_sent += header_size + size
        if self._is_direct():
            sent = ws_send2(self._fd, header, header_size, payload, size)
            if sent == <int64_t> (header_size + size):
                return 0
            if sent < 0:
                if not ws_would_block(sent):
                    return self._fail(sent)
                sent = 0
        payload_sent = 0 if sent < <int64_t> header_size else sent - header_size
        if keeper is None or not PyBytes_CheckExact(keeper):
            rest = PyBytes_FromStringAndSize(<const char*> payload + payload_sent, size - payload_sent)
        else:
            rest = keeper if payload_sent == 0 else memoryview(keeper)[payload_sent:]
        if sent < <int64_t> header_size:
            return self._hand_over(PyBytes_FromStringAndSize(<const char*> header + sent, header_size - sent), rest)
        return self._hand_over(rest)

    cdef int _write_copy(self, const uint8_t* data, size_t size) except -1:
        """Write memory that will be used again: what the socket does not take now is copied."""
        self.bytes_sent += size
        if self._is_direct():
            return self._write_direct(data, size)
        return self._hand_over(PyBytes_FromStringAndSize(<const char*> data, size))

    cdef int _write_direct(self, const uint8_t* data, size_t size) except -1:
        """The same after `_is_direct`, which may have run Python code; from here to the socket none does, so `data`
        may be the scratch that all threads share.
        """
        cdef int64_t sent = ws_send(self._fd, data, size)
        if sent == <int64_t> size:
            return 0
        if sent < 0:
            if not ws_would_block(sent):
                return self._fail(sent)
            sent = 0
        return self._hand_over(PyBytes_FromStringAndSize(<const char*> data + sent, size - sent))

    cdef int _hand_over(self, object data, object more=None) except -1:
        """Let the transport send it; it may keep both objects, which nobody changes.

        The transport may call `pause_writing`, and the listener may send there: that must not land inside a frame, so
        it waits.
        """
        if self._is_stopped:
            return 0
        if self._write_whole != NULL:
            return self._write_whole(self._transport, data, more)
        self._may_have_backlog = True
        if self._deferred is not None:
            self._deferred.append(data)
            if more is not None:
                self._deferred.append(more)
            return 0
        self._deferred = [] if more is None else [more]
        try:
            self._write_in_parts(data)
            while self._deferred:
                self._write_in_parts(self._deferred.pop(0))
        finally:
            self._deferred = None
        if self._on_written is not None:
            callback = self._on_written
            self._on_written = None
            callback()
        return 0

    cdef int when_written(self, object callback) except -1:
        """Call back when the transport has all of the frame that is being handed to it: now, unless that is under way.
        """
        if self._deferred is None:
            callback()
        else:
            self._on_written = callback
        return 0

    cdef int _write_in_parts(self, object data) except -1:
        """A TLS transport passes each write on whole and counts only what it holds itself: without parts it would never
        pause.
        """
        cdef Py_ssize_t size = len(data)
        cdef Py_ssize_t done
        if not self._is_secure or size <= TLS_PART_SIZE:
            self._write(data)
            return 0
        view = memoryview(data)
        for done in range(0, size, TLS_PART_SIZE):
            self._write(view[done:done + TLS_PART_SIZE])
        return 0

    cdef int _fail(self, int64_t result) except -1:
        """A direct write failed: the connection is lost for writing; what was received before can still be read."""
        cdef int error = <int> -result
        self.stop()
        self._on_failure(OSError(error, strerror(error)))
        return 0


cdef bytes build_frame(uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv):
    """A whole unmasked frame."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, ws_header_size(size, False) + size)
    cdef uint8_t* target = <uint8_t*> PyBytes_AS_STRING(frame)
    cdef size_t header_size = ws_encode_header(target, opcode, fin, rsv, size, False, 0)
    if size > 0:
        memcpy(target + header_size, payload, size)
    return frame
