"""Payloads in objects that are used again."""


cdef enum:
    LEAST_RECYCLED = 480          # bytes; smaller objects come from Python's own allocator, which is fast
    MOST_RECYCLED = 32 * 1024     # bytes; larger ones take so long to copy that malloc does not show


cdef inline bint is_recycled(Py_ssize_t size) noexcept:
    """Whether a payload of `size` bytes is worth it."""
    return LEAST_RECYCLED < size <= MOST_RECYCLED


cdef bytes recycled_bytes(const char* data, Py_ssize_t size)
cdef str recycled_text(const char* data, Py_ssize_t size)
