from libc.stdint cimport uint32_t

# The next masking key, its four octets in wire order. Any value is a key; 0xFFFFFFFF may also be an error.
cdef uint32_t next_masking_key() except? 0xFFFFFFFF
