# cython: auto_pickle=False, autotestdict=False
"""Read buffers: shared while nobody keeps anything, never reused while somebody does.

One `ReadScratch` serves all connections of a thread, one read at a time. Frames made from a read hold its `ReadBuffer`;
when the read is delivered, a reference count says whether anybody kept one. If so the next read goes behind the held
bytes, and once too little room is left the scratch takes another buffer: the old one lives until its last holder goes.
Nothing is copied to be safe.
"""

import threading

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport PyObject
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    /* A reference count proves nothing while other threads run: never reuse. */
    #define ws_reference_count(object) ((Py_ssize_t)1 << 30)
    #else
    #define ws_reference_count(object) Py_REFCNT(object)
    #endif
    """
    Py_ssize_t ws_reference_count(PyObject* object) noexcept

cdef enum:
    ALIGNMENT = 64            # bytes: held payloads and new reads do not share a cache line
    SPARE_BLOCKS = 4          # blocks of BLOCK_SIZE kept for reuse

cdef void* spare_blocks[SPARE_BLOCKS]
cdef int spare_count = 0


cdef void* take_block(size_t size):
    global spare_count
    if size == BLOCK_SIZE and spare_count > 0:
        spare_count -= 1
        return spare_blocks[spare_count]
    return malloc(size)


cdef void give_block(void* block, size_t size):
    global spare_count
    if size == BLOCK_SIZE and spare_count < SPARE_BLOCKS:
        spare_blocks[spare_count] = block
        spare_count += 1
    else:
        free(block)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class ReadBuffer:
    """A block of memory with an owner that counts its holders."""

    @staticmethod
    cdef ReadBuffer allocate(size_t size):
        """A block of `size` bytes, uninitialised; `size` may be lowered later."""
        cdef ReadBuffer self = ReadBuffer.__new__(ReadBuffer)
        self.data = <uint8_t*> take_block(size if size > 0 else 1)
        if self.data == NULL:
            raise MemoryError(f"cannot allocate a read buffer of {size} bytes")
        self.size = size
        return self

    @staticmethod
    cdef ReadBuffer over(bytes keeper, size_t pos, size_t size):
        """The memory of a bytes object that nobody else has seen yet, from `pos` on; its final NUL may be included."""
        cdef ReadBuffer self = ReadBuffer.__new__(ReadBuffer)
        self.keeper = keeper
        self.data = <uint8_t*> PyBytes_AS_STRING(keeper) + pos
        self.size = size
        return self

    def __dealloc__(self):
        if self.keeper is None and self.data != NULL:
            give_block(self.data, self.size)

    def __len__(self):
        return <Py_ssize_t> self.size

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t> self.size, 0, flags)


@cython.final
cdef class ReadScratch:
    """The buffer that reads go to, for as long as each read is delivered before the next one begins."""

    def __cinit__(self):
        self.buffer = ReadBuffer.allocate(BLOCK_SIZE)

    cdef size_t free_pos(self):
        """Where the next read may begin."""
        if self.pos > 0 and not self._is_held():
            self.pos = 0
            self._view = None
        return self.pos

    cdef object writable_view(self, size_t size):
        """So many bytes of the buffer from there on."""
        self.free_pos()
        if self._view is None or self._view_size != size:
            self._view = memoryview(self.buffer)[self.pos:self.pos + size]
            self._view_size = size
        return self._view

    cdef bint release(self, size_t used_end):
        """A read was delivered; its bytes end at `used_end`. Whatever is still held stays untouched.

        Returns:
            Whether anything is.
        """
        self.is_in_use = False
        if not self._is_held():
            return False
        self._view = None
        self.pos = (used_end + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        if self.pos + MIN_READ_SIZE > BLOCK_SIZE:
            self.buffer = ReadBuffer.allocate(BLOCK_SIZE)
            self.pos = 0
        return True

    cdef bint _is_held(self):
        """Whether a frame refers to the buffer: somebody does besides the scratch and its view."""
        return ws_reference_count(<PyObject*> self.buffer) != 1 + (self._view is not None)


@cython.final
cdef class ReadPool:
    """The scratches of one thread: one, unless reads nest."""

    def __cinit__(self):
        self._scratches = []

    cdef ReadScratch peek(self):
        """A scratch that no delivery is using. It is not taken: a read that brings nothing needs no undoing."""
        cdef ReadScratch scratch
        for scratch in self._scratches:
            if not scratch.is_in_use:
                return scratch
        scratch = ReadScratch()
        self._scratches.append(scratch)
        return scratch


_threads = threading.local()


cdef ReadPool thread_pool():
    """The pool of the calling thread; event loops do not share threads, so loops do not share pools."""
    try:
        return _threads.read_pool
    except AttributeError:
        _threads.read_pool = ReadPool()
        return _threads.read_pool
