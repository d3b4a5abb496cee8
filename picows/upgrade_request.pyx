# cython: auto_pickle=False, autotestdict=False
"""Reading the upgrade request as nearly every client sends it, without making a dictionary of its headers."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint8_t
from picows.native cimport ws_read_upgrade_request, ws_span, ws_upgrade_request

from picows.http_message import WSUpgradeRequest

cdef bytes METHOD = b"GET"
cdef bytes VERSION = b"HTTP/1.1"


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
