/*
 * Payloads in bytes and str objects that are used again.
 *
 * The C library's malloc and free take longer than copying a payload of 1 KiB. So the objects made last are remembered,
 * and the oldest is filled anew when nobody else holds it any more: a reference count of one is ours, which makes the
 * object as good as fresh. Without the GIL a count proves nothing, and every object is fresh.
 *
 * The caller holds the GIL.
 */
#ifndef WS_RECYCLED_PAYLOADS_H
#define WS_RECYCLED_PAYLOADS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

/* PyUnicode_DecodeUTF8, or another that decodes ASCII as what it is. */
typedef PyObject *ws_decode(const char *data, Py_ssize_t size, const char *errors);

#ifndef Py_GIL_DISABLED

enum {
    WS_LEAST_RECYCLED = 480,            /* bytes; smaller objects come from Python's own allocator, which is fast */
    WS_MOST_RECYCLED = 32 * 1024,       /* bytes; larger ones take so long to copy that malloc does not show */
    WS_REMEMBERED_BYTES = 384 * 1024,   /* more than one read brings, so that all messages of it find a place */
    WS_REMEMBERED = 512                 /* objects; a power of two */
};

typedef struct ws_remembered {
    PyObject *object;
    Py_ssize_t capacity;                /* bytes; its size may be smaller */
} ws_remembered;

/* Objects of one type, the oldest first. */
typedef struct ws_recycler {
    ws_remembered ring[WS_REMEMBERED];
    size_t first;
    size_t count;
    Py_ssize_t size;                    /* bytes: all capacities */
} ws_recycler;

static ws_recycler ws_recycled_bytes, ws_recycled_ascii;

static inline ws_remembered ws_take_oldest(ws_recycler *recycler)
{
    ws_remembered oldest = recycler->ring[recycler->first];
    recycler->first = (recycler->first + 1) & (WS_REMEMBERED - 1);
    recycler->count--;
    recycler->size -= oldest.capacity;
    return oldest;
}

/* Remember an object, whose new reference is taken. */
static inline void ws_remember(ws_recycler *recycler, PyObject *object, Py_ssize_t capacity)
{
    while (recycler->count == WS_REMEMBERED
           || (recycler->count > 0 && recycler->size + capacity > WS_REMEMBERED_BYTES))
        Py_DECREF(ws_take_oldest(recycler).object);
    size_t last = (recycler->first + recycler->count) & (WS_REMEMBERED - 1);
    recycler->ring[last] = (ws_remembered){object, capacity};
    recycler->count++;
    recycler->size += capacity;
}

/* Whether an object that nobody holds is nowhere else: interned text is in a table that does not count. */
static inline int ws_is_nowhere_else(PyObject *object)
{
    if (PyBytes_CheckExact(object))
        return 1;
#if PY_VERSION_HEX < 0x030C0000
    _Py_COMP_DIAG_PUSH
    _Py_COMP_DIAG_IGNORE_DEPR_DECLS
    if (((PyASCIIObject *)object)->wstr != NULL)    /* a copy of the text, for the C functions that wanted one */
        return 0;
    _Py_COMP_DIAG_POP
#endif
    return !PyUnicode_CHECK_INTERNED(object);
}

/*
 * The oldest object, if it is free and takes `size` bytes, or NULL. Its content is to be written.
 *
 * One that is much too large would waste memory for as long as somebody holds it, so it is given up.
 */
static inline PyObject *ws_reuse(ws_recycler *recycler, Py_ssize_t size)
{
    if (recycler->count == 0 || Py_REFCNT(recycler->ring[recycler->first].object) != 1)
        return NULL;
    ws_remembered oldest = ws_take_oldest(recycler);
    Py_ssize_t waste = oldest.capacity - size;
    if (waste < 0 || waste > oldest.capacity / 4 || !ws_is_nowhere_else(oldest.object)) {
        Py_DECREF(oldest.object);
        return NULL;
    }
    ws_remember(recycler, Py_NewRef(oldest.object), oldest.capacity);
    return oldest.object;
}

static inline int ws_is_recycled(Py_ssize_t size)
{
    return size > WS_LEAST_RECYCLED && size <= WS_MOST_RECYCLED;
}

/* The same as PyBytes_FromStringAndSize, for payloads. */
static inline PyObject *ws_payload_bytes(const char *data, Py_ssize_t size)
{
    if (!ws_is_recycled(size))
        return PyBytes_FromStringAndSize(data, size);
    PyObject *object = ws_reuse(&ws_recycled_bytes, size);
    if (object == NULL) {
        object = PyBytes_FromStringAndSize(data, size);
        if (object != NULL)
            ws_remember(&ws_recycled_bytes, Py_NewRef(object), size);
        return object;
    }
    memcpy(PyBytes_AS_STRING(object), data, (size_t)size);
    PyBytes_AS_STRING(object)[size] = 0;
    Py_SET_SIZE(object, size);
    _Py_COMP_DIAG_PUSH
    _Py_COMP_DIAG_IGNORE_DEPR_DECLS
    ((PyBytesObject *)object)->ob_shash = -1;       /* the hash: not known */
    _Py_COMP_DIAG_POP
    return object;
}

static inline int ws_is_ascii(const char *data, Py_ssize_t size)
{
    const uint64_t high_bits = 0x8080808080808080u;
    uint64_t words[8], seen = 0;
    Py_ssize_t pos = 0;
    for (; size - pos >= (Py_ssize_t)sizeof words; pos += (Py_ssize_t)sizeof words) {
        memcpy(words, data + pos, sizeof words);
        for (int i = 0; i < 8; i++)
            seen |= words[i];
        if (seen & high_bits)
            return 0;
    }
    unsigned char rest = 0;
    for (; pos < size; pos++)
        rest |= (unsigned char)data[pos];
    return rest < 0x80;
}

/* The same as `decode`, for payloads. */
static inline PyObject *ws_payload_text(const char *data, Py_ssize_t size, ws_decode *decode)
{
    if (!ws_is_recycled(size) || !ws_is_ascii(data, size))
        return decode(data, size, NULL);
    PyObject *object = ws_reuse(&ws_recycled_ascii, size);
    if (object == NULL) {
        object = PyUnicode_New(size, 127);
        if (object == NULL)
            return NULL;
        ws_remember(&ws_recycled_ascii, Py_NewRef(object), size);
    }
    memcpy(PyUnicode_1BYTE_DATA(object), data, (size_t)size);
    PyUnicode_1BYTE_DATA(object)[size] = 0;
    ((PyASCIIObject *)object)->length = size;
    ((PyASCIIObject *)object)->hash = -1;           /* not known */
    return object;
}

#else

static inline PyObject *ws_payload_bytes(const char *data, Py_ssize_t size)
{
    return PyBytes_FromStringAndSize(data, size);
}

static inline PyObject *ws_payload_text(const char *data, Py_ssize_t size, ws_decode *decode)
{
    return decode(data, size, NULL);
}

#endif
#endif
