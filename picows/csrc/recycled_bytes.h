/*
 * Bytes objects that are used again.
 *
 * The C library's malloc and free take longer than copying a payload of 1 KiB. So the objects made last are remembered,
 * and the oldest is filled anew when nobody else holds it any more: a reference count of one is ours, which makes the
 * object as good as fresh. Without the GIL a count proves nothing, and every object is fresh.
 *
 * The caller holds the GIL.
 */
#ifndef WS_RECYCLED_BYTES_H
#define WS_RECYCLED_BYTES_H

#include <Python.h>
#include <string.h>

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

/* The oldest first. */
static struct {
    ws_remembered ring[WS_REMEMBERED];
    size_t first;
    size_t count;
    Py_ssize_t size;                    /* bytes: all capacities */
} ws_recycler;

static inline ws_remembered ws_take_oldest(void)
{
    ws_remembered oldest = ws_recycler.ring[ws_recycler.first];
    ws_recycler.first = (ws_recycler.first + 1) & (WS_REMEMBERED - 1);
    ws_recycler.count--;
    ws_recycler.size -= oldest.capacity;
    return oldest;
}

/* Remember an object, whose new reference is taken. */
static inline void ws_remember(PyObject *object, Py_ssize_t capacity)
{
    while (ws_recycler.count == WS_REMEMBERED
           || (ws_recycler.count > 0 && ws_recycler.size + capacity > WS_REMEMBERED_BYTES))
        Py_DECREF(ws_take_oldest().object);
    size_t last = (ws_recycler.first + ws_recycler.count) & (WS_REMEMBERED - 1);
    ws_recycler.ring[last] = (ws_remembered){object, capacity};
    ws_recycler.count++;
    ws_recycler.size += capacity;
}

/* As if it were fresh: `size` is not above its capacity. */
static inline void ws_refill(PyObject *object, const char *data, Py_ssize_t size)
{
    memcpy(PyBytes_AS_STRING(object), data, (size_t)size);
    PyBytes_AS_STRING(object)[size] = 0;
    Py_SET_SIZE(object, size);
    _Py_COMP_DIAG_PUSH
    _Py_COMP_DIAG_IGNORE_DEPR_DECLS
    ((PyBytesObject *)object)->ob_shash = -1;   /* not known */
    _Py_COMP_DIAG_POP
}

/* The same as PyBytes_FromStringAndSize, for payloads. */
static inline PyObject *ws_recycled_bytes(const char *data, Py_ssize_t size)
{
    if (size <= WS_LEAST_RECYCLED || size > WS_MOST_RECYCLED)
        return PyBytes_FromStringAndSize(data, size);
    if (ws_recycler.count > 0 && Py_REFCNT(ws_recycler.ring[ws_recycler.first].object) == 1) {
        ws_remembered oldest = ws_take_oldest();
        /* An object that is much too large would waste memory for as long as it is held. */
        if (size <= oldest.capacity && oldest.capacity - size <= oldest.capacity / 4) {
            ws_refill(oldest.object, data, size);
            ws_remember(Py_NewRef(oldest.object), oldest.capacity);
            return oldest.object;
        }
        Py_DECREF(oldest.object);
    }
    PyObject *fresh = PyBytes_FromStringAndSize(data, size);
    if (fresh != NULL)
        ws_remember(Py_NewRef(fresh), size);
    return fresh;
}

#else

static inline PyObject *ws_recycled_bytes(const char *data, Py_ssize_t size)
{
    return PyBytes_FromStringAndSize(data, size);
}

#endif
#endif
