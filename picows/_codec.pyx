# cython: auto_pickle=False, autotestdict=False
"""csrc/ as Python sees it, for tests and benchmarks; nothing here is public."""

from collections import namedtuple

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from picows cimport entropy
from picows.native cimport (
    MASK, WS_INCOMPLETE, WS_MAX_HEADER_SIZE, WS_OK, WS_OPCODE_CLOSE, WS_STATUS_COUNT, WS_UTF8_ACCEPT, WS_UTF8_REJECT,
    mask_impl, ws_check_close, ws_check_header, ws_check_text, ws_clock_ns, ws_decode_header, ws_encode_header,
    ws_end_frame, ws_frame_header, ws_frame_rules, ws_frame_wants_text_check, ws_header_size, ws_key_at, ws_mask_impl,
    ws_utf8_feed,
)

FrameHeader = namedtuple("FrameHeader", "opcode fin rsv payload_size masking_key size")
Frame = namedtuple("Frame", "opcode fin rsv payload")

# In the order of enum ws_status.
STATUSES = (
    "OK", "INCOMPLETE", "OPCODE", "RSV", "CONTROL_FRAGMENTED", "CONTROL_TOO_LONG", "MASK_MISSING", "MASK_UNEXPECTED",
    "LENGTH_NOT_MINIMAL", "LENGTH_HIGH_BIT", "TOO_BIG", "CONTINUATION_UNEXPECTED", "CONTINUATION_EXPECTED",
    "CLOSE_LENGTH", "CLOSE_CODE", "CLOSE_REASON", "UTF8",
)
assert len(STATUSES) == WS_STATUS_COUNT

UTF8_ACCEPT = WS_UTF8_ACCEPT
UTF8_REJECT = WS_UTF8_REJECT


class CodecError(ValueError):
    """The peer broke a rule; `status` is the name of the C status."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


cdef int check(int status) except -1:
    if status != WS_OK:
        raise CodecError(STATUSES[status])
    return 0


cdef uint32_t load_key(bytes key) except? 0xFFFFFFFF:
    cdef uint32_t value
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 octets, not {len(key)}")
    memcpy(&value, PyBytes_AS_STRING(key), 4)
    return value


cdef bytes store_key(uint32_t key):
    return PyBytes_FromStringAndSize(<char*> &key, 4)


def decode_header(bytes data, size=None):
    """The header at the start of `data[:size]`, or None while it is incomplete.

    Raises:
        CodecError: The length is not encoded as it must be.
    """
    cdef ws_frame_header header
    cdef size_t arrived = len(data) if size is None else size
    if arrived > <size_t> len(data):
        raise ValueError(f"size {size} of {len(data)} bytes")
    cdef int status = ws_decode_header(<const uint8_t*> PyBytes_AS_STRING(data), arrived, &header)
    if status == WS_OK:
        key = store_key(header.key) if header.has_mask else None
        return FrameHeader(header.opcode, bool(header.fin), header.rsv, header.payload_len, key, header.size)
    if status == WS_INCOMPLETE:
        return None
    raise CodecError(STATUSES[status])


def encode_header(uint8_t opcode, uint64_t payload_size, *, bint fin=True, uint8_t rsv=0, bytes masking_key=None):
    """The bytes of a header."""
    cdef uint8_t header[WS_MAX_HEADER_SIZE]
    cdef uint32_t key = 0 if masking_key is None else load_key(masking_key)
    if opcode > 15 or rsv > 7 or payload_size >> 63:
        raise ValueError(f"no header holds opcode {opcode}, rsv {rsv}, payload size {payload_size}")
    cdef size_t size = ws_encode_header(header, opcode, fin, rsv, payload_size, masking_key is not None, key)
    return PyBytes_FromStringAndSize(<char*> header, size)


def header_size(uint64_t payload_size, bint has_mask):
    """Bytes of the header of such a frame."""
    return ws_header_size(payload_size, has_mask)


def check_close(bytes payload):
    """Raise CodecError when a CLOSE frame must not carry this payload."""
    check(ws_check_close(<const uint8_t*> PyBytes_AS_STRING(payload), len(payload)))


def utf8_feed(uint32_t state, bytes data):
    """The state of the validator after `data`; the first is UTF8_ACCEPT."""
    return ws_utf8_feed(state, <const uint8_t*> PyBytes_AS_STRING(data), len(data))


def next_masking_key():
    """The next key from the pool, in wire order."""
    return store_key(entropy.next_masking_key())


def key_at(bytes key, size_t pos):
    """The key for a piece that starts `pos` octets into the payload."""
    return store_key(ws_key_at(load_key(key), pos))


cdef const ws_mask_impl* find_impl(name) except NULL:
    cdef size_t index = 0
    cdef const ws_mask_impl* impl = MASK if name is None else mask_impl(0)
    while impl != NULL and name is not None and impl.name != <bytes> name.encode():
        index += 1
        impl = mask_impl(index)
    if impl == NULL:
        raise ValueError(f"no masking kernel {name!r} on this machine")
    return impl


def available_mask_impls():
    """Names of the kernels this CPU can run, the one in use first."""
    names = []
    cdef const ws_mask_impl* impl = mask_impl(0)
    while impl != NULL:
        names.append(impl.name.decode())
        impl = mask_impl(len(names))
    return tuple(names)


def apply_mask(bytes data, bytes key, impl=None):
    """`data` masked, or unmasked, by the named kernel or by the one in use."""
    cdef bytes result = PyBytes_FromStringAndSize(NULL, len(data))
    find_impl(impl).apply(
        <uint8_t*> PyBytes_AS_STRING(result), <const uint8_t*> PyBytes_AS_STRING(data), len(data), load_key(key)
    )
    return result


def mask_into(bytearray dst, size_t dst_pos, bytearray src, size_t src_pos, size_t size, bytes key, impl):
    """Mask `size` bytes from `src_pos` of `src` to `dst_pos` of `dst`, which may be the same bytes."""
    cdef size_t dst_size = len(dst)
    cdef size_t src_size = len(src)
    if dst_pos > dst_size or size > dst_size - dst_pos or src_pos > src_size or size > src_size - src_pos:
        raise ValueError(f"{size} bytes from {src_pos} of {src_size} to {dst_pos} of {dst_size}")
    if dst is src and dst_pos != src_pos and dst_pos < src_pos + size and src_pos < dst_pos + size:
        raise ValueError("the two pieces overlap")
    find_impl(impl).apply(
        <uint8_t*> PyByteArray_AS_STRING(dst) + dst_pos, <const uint8_t*> PyByteArray_AS_STRING(src) + src_pos,
        size, load_key(key),
    )


@cython.final
cdef class FrameRules:
    """A receiver made of csrc/ alone: bytes in, frames out."""

    cdef:
        ws_frame_rules _rules
        bytearray _unread       # what follows the last complete frame, as it came
        size_t _checked         # payload bytes of the incomplete frame that ws_check_text has seen
        readonly object error   # name of the status that failed the stream, or None

    def __init__(self, *, bint expects_mask, bint strict=False, uint8_t allowed_rsv=0, bint validate_utf8=False,
                 max_payload_size=None):
        self._rules.expects_mask = expects_mask
        self._rules.strict = strict
        self._rules.allowed_rsv = allowed_rsv
        self._rules.validate_utf8 = validate_utf8
        self._rules.max_payload_size = UINT64_MAX if max_payload_size is None else max_payload_size
        self._unread = bytearray()

    def feed(self, bytes data):
        """The frames that `data` completes. A violation sets `error`, after which nothing may be fed."""
        if self.error is not None:
            raise RuntimeError(f"the stream has failed: {self.error}")
        self._unread += data
        frames = []
        try:
            while (frame := self._next_frame()) is not None:
                frames.append(frame)
        except CodecError as error:
            self.error = error.status
        return frames

    cdef object _next_frame(self):
        cdef:
            ws_frame_header header
            uint8_t* data = <uint8_t*> PyByteArray_AS_STRING(self._unread)
            size_t size = len(self._unread)
            size_t arrived
            bytes payload
            int status = ws_decode_header(data, size, &header)
        if status == WS_INCOMPLETE:
            return None
        if status != WS_OK:
            raise CodecError(STATUSES[status])
        check(ws_check_header(&self._rules, &header))
        arrived = min(header.payload_len, size - header.size)
        payload = PyBytes_FromStringAndSize(<char*> data + header.size, arrived)
        if header.has_mask:
            payload = apply_mask(payload, store_key(header.key))
        self._check_payload(&header, <const uint8_t*> PyBytes_AS_STRING(payload), arrived)
        if arrived < header.payload_len:
            return None
        check(ws_end_frame(&self._rules, &header))
        self._checked = 0
        del self._unread[:header.size + arrived]
        return Frame(header.opcode, bool(header.fin), header.rsv, payload)

    cdef int _check_payload(self, const ws_frame_header* header, const uint8_t* payload, size_t arrived) except -1:
        if ws_frame_wants_text_check(&self._rules, header):
            check(ws_check_text(&self._rules, payload + self._checked, arrived - self._checked))
            self._checked = arrived
        elif header.opcode == WS_OPCODE_CLOSE and arrived == header.payload_len:
            check(ws_check_close(payload, arrived))
        return 0


cdef enum:
    RING_SIZE = 1 << 18     # bytes: smaller pieces move on through it, as payloads do
    PAGE = 4096


def time_mask(impl, size_t size, size_t calls, *, bint in_place):
    """Nanoseconds a call of a kernel takes for `size` bytes that begin, as payloads do, at no aligned address."""
    cdef:
        const ws_mask_impl* kernel = find_impl(impl)
        bytearray src_memory = bytearray(max(<size_t> RING_SIZE, size) + PAGE)
        bytearray dst_memory = src_memory if in_place else bytearray(len(src_memory))
        uint8_t* src = <uint8_t*> PyByteArray_AS_STRING(src_memory) + 6
        # Half a page apart: at the same place of their pages a load would wait for a store it has nothing to do with.
        uint8_t* dst = src if in_place else <uint8_t*> PyByteArray_AS_STRING(dst_memory) + PAGE // 2 + 14
        size_t step = size + 6
        size_t pos = 0
        size_t call
        int64_t start = ws_clock_ns()
    for call in range(calls):
        if pos + size > RING_SIZE:
            pos = 0
        kernel.apply(dst + pos, src + pos, size, <uint32_t> call)
        pos += step
    return (ws_clock_ns() - start) / <double> calls


def time_masking_keys(size_t calls):
    """Nanoseconds a masking key takes, its share of the source's work included."""
    cdef int64_t start = ws_clock_ns()
    cdef size_t _call
    for _call in range(calls):
        entropy.next_masking_key()
    return (ws_clock_ns() - start) / <double> calls


def time_utf8(bytes data, size_t calls):
    """Nanoseconds a validation of `data` takes."""
    cdef int64_t start = ws_clock_ns()
    cdef uint32_t state = WS_UTF8_ACCEPT
    cdef size_t _call
    for _call in range(calls):
        state = ws_utf8_feed(state, <const uint8_t*> PyBytes_AS_STRING(data), len(data))
    if state != WS_UTF8_ACCEPT:
        raise ValueError("not UTF-8")
    return (ws_clock_ns() - start) / <double> calls
