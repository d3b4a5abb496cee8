/* RFC 6455 section 5.2, as little of it as the native programs need. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdint.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, MAX_HEADER = 14 };

struct frame {
    uint8_t first;      /* FIN, reserved bits and opcode, as on the wire */
    uint8_t opcode;
    size_t header_size; /* bytes */
    size_t size;        /* payload, bytes */
    uint8_t key[4];     /* zeros when the frame is not masked */
};

/* 1: the header is complete; 0: more bytes are needed. */
static inline int read_header(const uint8_t *data, size_t available, struct frame *frame)
{
    if (available < 2)
        return 0;
    const size_t length = data[1] & 127;
    const size_t extended = length == 126 ? 2 : length == 127 ? 8 : 0;
    const size_t key_size = data[1] & 128 ? 4 : 0;
    frame->first = data[0];
    frame->opcode = data[0] & 15;
    frame->header_size = 2 + extended + key_size;
    if (available < frame->header_size)
        return 0;
    frame->size = extended ? 0 : length;
    for (size_t i = 0; i < extended; i++)
        frame->size = frame->size << 8 | data[2 + i];
    memset(frame->key, 0, 4);
    memcpy(frame->key, data + 2 + extended, key_size);
    return 1;
}

/* Writes the header in front of a payload; `key` is NULL for a server's frame. Returns its size. */
static inline size_t write_header(uint8_t *out, uint8_t first, size_t size, const uint8_t *key)
{
    const size_t extended = size < 126 ? 0 : size < 65536 ? 2 : 8;
    out[0] = first;
    out[1] = (uint8_t)((key ? 128 : 0) | (extended == 0 ? size : extended == 2 ? 126 : 127));
    for (size_t i = 0; i < extended; i++)
        out[2 + i] = (uint8_t)(size >> 8 * (extended - 1 - i));
    if (key)
        memcpy(out + 2 + extended, key, 4);
    return 2 + extended + (key ? 4 : 0);
}

/* Copies and unmasks (or masks) in one pass. */
static inline void copy_masked(uint8_t *out, const uint8_t *data, size_t size, const uint8_t key[4])
{
    uint64_t word, key64;
    uint32_t key32;
    memcpy(&key32, key, 4);
    key64 = (uint64_t)key32 << 32 | key32;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= key64;
        memcpy(out + i, &word, 8);
    }
    for (; i < size; i++)
        out[i] = data[i] ^ key[i & 3];
}

#endif
