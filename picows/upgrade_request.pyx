# cython: auto_pickle=False, autotestdict=False
"""Reading and answering the upgrade request as nearly every client sends it, without a dictionary of headers."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from picows.native cimport (
    ws_is_field_name, ws_is_field_value, ws_read_upgrade_request, ws_span,
    ws_upgrade_request,
)

from picows.http_message import WSUpgradeRequest
from picows.upgrade_headers import compute_accept

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text) noexcept
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef bytes METHOD = b"GET"
cdef bytes VERSION = b"HTTP/1.1"
cdef bytes ACCEPTANCE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


@cython.final
cdef class UpgradeOffer:
    """Headers of an upgrade request in the usual form: what RFC 6455 section 4.2.1 asks for is there, once, and right.

    Attributes:
        key: Sec-WebSocket-Key.
        extensions: Sec-WebSocket-Extensions as sent, or None; not checked.
        subprotocols: Sec-WebSocket-Protocol as sent, or None; not checked.
        origin: Origin as sent, or None.
    """

    cdef readonly str key
    cdef readonly str extensions
    cdef readonly str subprotocols
    cdef readonly str origin


cdef str text_of(const char* data, ws_span span):
    return None if span.pos == 0 else PyUnicode_DecodeLatin1(data + span.pos, span.size, NULL)


def read_upgrade_request(bytes data, size_t max_size, size_t max_fields):
    """The request that `data` begins with, if it is complete and an upgrade request in the usual form.

    Everything else, faulty or not, is for `RequestReader`, which reads what is accepted here in the same way.

    Args:
        data: What a client has sent first.
        max_size: Bytes that its head may have.
        max_fields: Headers that it may have.

    Returns:
        The request, whose `offer` and `head` are set, or None.
    """
    cdef ws_upgrade_request found
    cdef const char* start = PyBytes_AS_STRING(data)
    if not ws_read_upgrade_request(<const uint8_t*> start, PyBytes_GET_SIZE(data), max_fields, &found):
        return None
    if found.head_size > max_size:
        return None
    cdef UpgradeOffer offer = UpgradeOffer.__new__(UpgradeOffer)
    offer.key = text_of(start, found.key)
    offer.extensions = text_of(start, found.extensions)
    offer.subprotocols = text_of(start, found.subprotocols)
    offer.origin = text_of(start, found.origin)
    request = WSUpgradeRequest.__new__(WSUpgradeRequest)
    request.method = METHOD
    request.path = data[found.path.pos:found.path.pos + found.path.size]
    request.version = VERSION
    request.transport = None
    request.head = data[:found.head_size]
    request.offer = offer
    return request


cdef char* copy_to(char* target, const char* source, Py_ssize_t size) noexcept:
    memcpy(target, source, size)
    return target + size


cdef const uint8_t* ascii_of(object text, Py_ssize_t* size) except? NULL:
    """The characters of a str, or NULL where it is none of ASCII characters only."""
    if not isinstance(text, str) or not PyUnicode_IS_ASCII(text):
        return NULL
    return <const uint8_t*> PyUnicode_AsUTF8AndSize(text, size)


cdef Py_ssize_t encoded_size(object fields) except -1:
    """Bytes of header lines; 0: one of them is faulty, or not of ASCII characters only."""
    cdef Py_ssize_t total = 2, size
    cdef const uint8_t* text
    for name, value in fields:
        text = ascii_of(name, &size)
        if text == NULL or not ws_is_field_name(text, size):
            return 0
        total += size + 4
        text = ascii_of(value, &size)
        if text == NULL or not ws_is_field_value(text, size):
            return 0
        total += size
    return total


def encode_acceptance(UpgradeOffer offer not None, fields):
    """Encode the 101 that accepts a request (RFC 6455 section 4.2.2).

    Args:
        offer: What the request asks for.
        fields: Names and values of the headers to add.

    Returns:
        The head, or None where a header is not of ASCII characters only, or faulty.
    """
    cdef Py_ssize_t size
    cdef list pairs = list(fields)
    cdef Py_ssize_t added = encoded_size(pairs)
    if added == 0:
        return None
    cdef bytes accept = compute_accept(offer.key).encode("ascii")
    cdef bytes head = PyBytes_FromStringAndSize(
        NULL, PyBytes_GET_SIZE(ACCEPTANCE) + PyBytes_GET_SIZE(accept) + 2 + added
    )
    cdef char* end = copy_to(PyBytes_AS_STRING(head), PyBytes_AS_STRING(ACCEPTANCE), PyBytes_GET_SIZE(ACCEPTANCE))
    end = copy_to(end, PyBytes_AS_STRING(accept), PyBytes_GET_SIZE(accept))
    end = copy_to(end, b"\r\n", 2)
    for name, value in pairs:
        end = copy_to(end, <const char*> ascii_of(name, &size), size)
        end = copy_to(end, b": ", 2)
        end = copy_to(end, <const char*> ascii_of(value, &size), size)
        end = copy_to(end, b"\r\n", 2)
    copy_to(end, b"\r\n", 2)
    return head
