# cython: autotestdict=False
"""Masking keys that nobody can predict, at the price of a few nanoseconds (RFC 6455 sections 5.3 and 10.3).

A strong generator is asked for a pool of keys at a time. A key leaves the pool for good, and a forked child
starts without its parent's pool, so no key is used twice.

The generator is that of OpenSSL, which seeds itself from the kernel and again after a fork, and makes a pool faster
than the kernel does. A Python without `ssl` asks the kernel.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

try:
    from ssl import RAND_bytes as random_bytes
except ImportError:
    from os import urandom as random_bytes

cdef enum:
    KEY_SIZE = 4
    POOL_BYTES = 4096

POOL_SIZE = POOL_BYTES

cdef uint8_t pool[POOL_BYTES]
cdef size_t pool_pos = POOL_BYTES       # of the next key; what lies before it is zero


cdef uint32_t next_masking_key() except? 0xFFFFFFFF:  # hot
    global pool_pos
    cdef uint32_t key
    if pool_pos == POOL_BYTES:
        fill_pool()
    memcpy(&key, &pool[pool_pos], KEY_SIZE)
    memset(&pool[pool_pos], 0, KEY_SIZE)
    pool_pos += KEY_SIZE
    return key


cdef int fill_pool() except -1:
    # While the source works another thread may run and fill the pool too. That does no harm: its keys are replaced by
    # ours, and no thread can come between the copy and the caller's first key.
    global pool_pos
    cdef bytes fresh = random_bytes(POOL_BYTES)
    assert len(fresh) == POOL_BYTES
    memcpy(pool, PyBytes_AS_STRING(fresh), POOL_BYTES)
    memset(PyBytes_AS_STRING(fresh), 0, POOL_BYTES)     # ours alone, and about to be freed
    pool_pos = 0
    return 0


def discard_pool():
    """Forget the keys not used so far; the next one comes from the source."""
    global pool_pos
    memset(pool, 0, POOL_BYTES)
    pool_pos = POOL_BYTES


if hasattr(os, "register_at_fork"):     # Windows has no fork
    os.register_at_fork(after_in_child=discard_pool)
