"""Memory that the event loop writes into and that frames point into."""

from libc.stdint cimport int64_t, uint8_t


cdef enum:
    BLOCK_SIZE = 262144     # bytes of a buffer for reads, and asked from the socket at once in a flood
    READ_SIZE = 65536       # bytes asked from the socket at once otherwise
    MIN_READ_SIZE = 32768   # a held buffer with less free room is replaced: more than part of a small frame ever takes


cdef class ReadBuffer:
    cdef:
        uint8_t* data
        size_t size           # bytes
        bytes keeper          # the bytes object whose memory this is, or None: the memory is ours

    @staticmethod
    cdef ReadBuffer allocate(size_t size)

    @staticmethod
    cdef ReadBuffer over(bytes keeper, size_t pos, size_t size)


cdef class ReadScratch:
    cdef:
        ReadBuffer buffer
        size_t pos            # next read begins here: what lies before is held by somebody
        bint is_in_use        # a read is being delivered from it
        object _view          # memoryview of buffer[pos:pos + _view_size]: most reads hand out the same one
        size_t _view_size     # bytes

    cdef object writable_view(self, size_t size)
    cdef size_t free_pos(self)
    cdef bint release(self, size_t used_end)
    cdef bint _is_held(self)


cdef class ReadPool:
    cdef:
        list _scratches
        bint copies_small_views   # a small view outlived its callback once: from then on small views are copies
        # Connections that may poll: see FrameParser.is_only_poller.
        void* latest_poller       # the one that was read last
        int64_t latest_read_ns    # and when
        int64_t other_read_ns     # when any other was read, the last time

    cdef ReadScratch peek(self)


cdef ReadPool thread_pool()
