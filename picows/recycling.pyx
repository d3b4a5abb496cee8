# cython: autotestdict=False
"""Payloads in bytes and str objects that are used again.

The C library's malloc and free take longer than copying a payload of 1 KiB. So the objects made last are remembered,
and the oldest is filled anew when nobody else holds it any more: a reference count of one is ours, which makes the
object as good as fresh. Without the interpreter lock a count proves nothing, and every object is fresh.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from picows.native cimport ws_is_ascii

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define WS_RECYCLES 0
    #else
    #define WS_RECYCLES 1
    #endif

    #ifndef _Py_COMP_DIAG_PUSH      /* Python's own, for members that it calls deprecated */
    #define _Py_COMP_DIAG_PUSH
    #define _Py_COMP_DIAG_IGNORE_DEPR_DECLS
    #define _Py_COMP_DIAG_POP
    #endif

    /* Whether text that nobody holds is nowhere else: interned, it is in a table that does not count. */
    static int ws_is_plain_text(PyObject *text)
    {
    #if PY_VERSION_HEX < 0x030C0000
        _Py_COMP_DIAG_PUSH
        _Py_COMP_DIAG_IGNORE_DEPR_DECLS
        if (((PyASCIIObject *)text)->wstr != NULL)      /* a copy, for C functions that wanted wide characters */
            return 0;
        _Py_COMP_DIAG_POP
    #endif
        return !PyUnicode_CHECK_INTERNED(text);
    }

    /* Both: give an object its new size, which is not above its capacity, and forget its hash. */
    static void ws_resize_bytes(PyObject *bytes, Py_ssize_t size)
    {
        Py_SET_SIZE(bytes, size);
        _Py_COMP_DIAG_PUSH
        _Py_COMP_DIAG_IGNORE_DEPR_DECLS
        ((PyBytesObject *)bytes)->ob_shash = -1;
        _Py_COMP_DIAG_POP
    }

    static void ws_resize_ascii(PyObject *text, Py_ssize_t size)
    {
        ((PyASCIIObject *)text)->length = size;
        ((PyASCIIObject *)text)->hash = -1;
    }
    """
    bint WS_RECYCLES
    bint ws_is_plain_text(PyObject* text) noexcept
    void ws_resize_bytes(PyObject* bytes, Py_ssize_t size) noexcept
    void ws_resize_ascii(PyObject* text, Py_ssize_t size) noexcept

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, unsigned int max_character)
    void* PyUnicode_DATA(object text) noexcept
    Py_ssize_t Py_REFCNT(PyObject* object) noexcept

cdef enum:
    REMEMBERED_BYTES = 384 * 1024   # more than one read brings, so that all messages of it find a place
    REMEMBERED = 512                # objects; a power of two
    MOST_WASTE = 8                  # a part of the object: what it may be too large by, for as long as it is held


cdef struct Remembered:
    PyObject* object
    Py_ssize_t capacity             # bytes; its size may be smaller


cdef struct Recycler:
    Remembered ring[REMEMBERED]     # the oldest first
    size_t first
    size_t count
    Py_ssize_t size                 # bytes: all capacities


cdef Recycler used_bytes, used_text


cdef bytes recycled_bytes(const char* data, Py_ssize_t size):
    """The same as PyBytes_FromStringAndSize, for sizes that are recycled."""
    cdef PyObject* used = take_free(&used_bytes, size)
    if used == NULL:
        fresh = PyBytes_FromStringAndSize(data, size)
        remember(&used_bytes, fresh, size)
        return fresh
    fill(PyBytes_AS_STRING(<object> used), data, size)
    ws_resize_bytes(used, size)
    return <bytes> used


cdef str recycled_text(const char* data, Py_ssize_t size):
    """ASCII text of a size that is recycled; None: it is not ASCII."""
    cdef PyObject* used
    if not ws_is_ascii(<const uint8_t*> data, size):
        return None
    used = take_free(&used_text, size)
    if used == NULL:
        fresh = PyUnicode_New(size, 127)
        fill(<char*> PyUnicode_DATA(fresh), data, size)
        remember(&used_text, fresh, size)
        return fresh
    fill(<char*> PyUnicode_DATA(<object> used), data, size)
    ws_resize_ascii(used, size)
    return <str> used


cdef void fill(char* target, const char* data, Py_ssize_t size) noexcept:
    memcpy(target, data, size)
    target[size] = 0


cdef PyObject* take_free(Recycler* recycler, Py_ssize_t size) noexcept:
    """The oldest object, if it is free and takes `size` bytes, or NULL; from now on it is the youngest."""
    cdef Remembered* oldest = &recycler.ring[recycler.first]
    cdef PyObject* used = oldest.object
    cdef Py_ssize_t capacity = oldest.capacity
    if not WS_RECYCLES or recycler.count == 0 or Py_REFCNT(used) != 1:
        return NULL
    if size > capacity or capacity - size > capacity // MOST_WASTE or (
        recycler == &used_text and not ws_is_plain_text(used)
    ):
        forget_oldest(recycler)
        return NULL
    recycler.first = (recycler.first + 1) & (REMEMBERED - 1)
    recycler.ring[(recycler.first + recycler.count - 1) & (REMEMBERED - 1)] = Remembered(used, capacity)
    return used


cdef void remember(Recycler* recycler, object fresh, Py_ssize_t capacity) noexcept:
    if not WS_RECYCLES:
        return
    while recycler.count == REMEMBERED or (recycler.count > 0 and recycler.size + capacity > REMEMBERED_BYTES):
        forget_oldest(recycler)
    Py_INCREF(fresh)
    recycler.ring[(recycler.first + recycler.count) & (REMEMBERED - 1)] = Remembered(<PyObject*> fresh, capacity)
    recycler.count += 1
    recycler.size += capacity


cdef void forget_oldest(Recycler* recycler) noexcept:
    cdef Remembered oldest = recycler.ring[recycler.first]
    recycler.first = (recycler.first + 1) & (REMEMBERED - 1)
    recycler.count -= 1
    recycler.size -= oldest.capacity
    Py_XDECREF(oldest.object)
