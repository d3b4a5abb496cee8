"""From a stream of bytes to frames."""

from libc.stdint cimport int64_t, uint8_t

from picows.buffer cimport ReadBuffer, ReadPool, ReadScratch
from picows.frame cimport WSFrame
from picows.native cimport ws_frame_header, ws_frame_rules


cdef class FrameParser:
    cdef:
        ws_frame_rules _rules
        ReadPool _pool
        # Where the loop writes the read under way: one of these three.
        ReadScratch _scratch
        ReadBuffer _large_view          # the free part of _large_payload
        ReadBuffer _aside               # while frames are delivered or held back: joins _rest
        size_t _frames_in_read          # frames made since a read into the scratch ended
        size_t _read_size               # bytes of the next read at most, with those of _rest: READ_SIZE or BLOCK_SIZE
        # The bytes under delivery that are not parsed yet, and who owns them.
        ReadBuffer _source
        uint8_t* _pos
        uint8_t* _end
        ws_frame_header _ahead          # header at `_ahead_pos`, decoded and checked already: that of a whole frame
        uint8_t* _ahead_pos             # NULL: none
        bint _is_delivering             # between received() or take_rest() and end_read()
        # What comes after them: part of a small frame, or what a pause held back.
        ReadBuffer _rest
        bint is_held_back               # whole frames may wait: take_rest() before the next read
        # A frame that did not arrive whole: its payload goes straight to the bytes that the frame will own.
        ws_frame_header _large_header
        bytes _large_payload            # as large as the payload, or less as long as little has come
        size_t _large_filled            # bytes received
        size_t _large_unmasked          # bytes unmasked and checked
        # what was found wrong with it, a WSProtocolError for next_frame to raise, or None
        object _large_failure
        WSFrame _spare                  # reused while nobody else holds it
        WSFrame _kept                   # latest that outlived its callbacks, the others behind it; see `settle_kept`

    cdef object read_target(self, size_t least)
    cdef int64_t read(self, int fd, size_t* room) except? -1
    cdef int received(self, size_t size) except -1
    cdef int take_rest(self) except -1
    cdef WSFrame next_frame(self)
    cdef int recycle(self, WSFrame frame) except -1
    cdef int settle_kept(self) except -1
    cdef int forget_frame(self) except -1
    cdef bytes take_raw(self, size_t size)
    cdef int note_poller_read(self, int64_t now) except -1
    cdef int leave_pollers(self) except -1
    cdef bint is_only_poller(self, int64_t window)
    cdef int64_t poll(self, int fd, int64_t nanoseconds) except? -1
    cdef int end_read(self, bint hold_back) except -1
    cdef int discard(self) except -1
    cdef bint has_unparsed(self)

    cdef bint _has_whole_frame(self) noexcept
    cdef ReadBuffer _separate_target(self, size_t kept, size_t least)
    cdef void _forget_target(self) noexcept
    cdef size_t _room(self, size_t kept)
    cdef size_t _scratch_room(self, ReadScratch scratch)
    cdef int _end_scratch(self, size_t used_end) except -1
    cdef int _received_aside(self, size_t size) except -1
    cdef int _fail(self, int status, const ws_frame_header* header) except -1
    cdef int _set_rest(
        self, const uint8_t* first, size_t first_size, const uint8_t* second, size_t second_size
    ) except -1
    cdef int _begin_large(self, const ws_frame_header* header) except -1
    cdef size_t _large_missing(self)
    cdef int _large_received(self, size_t size) except -1
    cdef int _large_advance(self) except -1
    cdef WSFrame _large_frame(self)
    cdef WSFrame _make_frame(self, const ws_frame_header* header, uint8_t* payload, object owner)
