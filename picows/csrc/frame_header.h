/*
 * Frame headers, RFC 6455 section 5.2: the bytes in front of every payload.
 *
 * What a header says is read and written here; whether it is allowed at this point of the
 * stream is decided in frame_rules.h.
 */
#ifndef WS_FRAME_HEADER_H
#define WS_FRAME_HEADER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What the codec answers. Every WS_ERR_* is the peer's fault; the number is the RFC's section. */
enum ws_status {
    WS_OK = 0,
    WS_INCOMPLETE = 1,                  /* more bytes are needed to tell */
    WS_ERR_OPCODE,                      /* 5.2: a reserved opcode */
    WS_ERR_RSV,                         /* 5.2: a reserved bit no extension owns */
    WS_ERR_CONTROL_FRAGMENTED,          /* 5.5: control frames come whole */
    WS_ERR_CONTROL_TOO_LONG,            /* 5.5: more than 125 bytes of payload */
    WS_ERR_MASK_MISSING,                /* 5.1: a client that does not mask */
    WS_ERR_MASK_UNEXPECTED,             /* 5.1: a server that masks */
    WS_ERR_LENGTH_NOT_MINIMAL,          /* 5.2: the length fits a shorter field */
    WS_ERR_LENGTH_HIGH_BIT,             /* 5.2: the most significant bit must be 0 */
    WS_ERR_TOO_BIG,                     /* 10.4: larger than the receiver wants */
    WS_ERR_CONTINUATION_UNEXPECTED,     /* 5.4: no message to continue */
    WS_ERR_CONTINUATION_EXPECTED,       /* 5.4: a new message inside a fragmented one */
    WS_ERR_CLOSE_LENGTH,                /* 5.5.1: half a close code */
    WS_ERR_CLOSE_CODE,                  /* 7.4: a code that must not be on the wire */
    WS_ERR_CLOSE_REASON,                /* 5.5.1: the reason is not UTF-8 */
    WS_ERR_UTF8,                        /* 8.1: the text is not UTF-8 */
    WS_STATUS_COUNT
};

enum {
    WS_OPCODE_CONTINUATION = 0,
    WS_OPCODE_TEXT = 1,
    WS_OPCODE_BINARY = 2,
    WS_OPCODE_CLOSE = 8,
    WS_OPCODE_PING = 9,
    WS_OPCODE_PONG = 10
};

enum {
    WS_RSV1 = 4,
    WS_RSV2 = 2,
    WS_RSV3 = 1,
    WS_MAX_HEADER_SIZE = 14,            /* 2, then 8 of extended length, then 4 of masking key */
    WS_MAX_CONTROL_PAYLOAD = 125
};

typedef struct ws_frame_header {
    uint64_t payload_len;               /* bytes; below 2^63 */
    uint32_t key;                       /* masking key: its four bytes in wire order; 0 when there is none */
    uint8_t opcode;
    uint8_t fin;
    uint8_t rsv;                        /* WS_RSV1 | WS_RSV2 | WS_RSV3 */
    uint8_t has_mask;
    uint8_t size;                       /* bytes the header occupies, the masking key included */
} ws_frame_header;

static inline uint64_t ws_load_be(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline void ws_store_be(uint8_t *bytes, size_t count, uint64_t value)
{
    for (size_t i = count; i-- > 0; value >>= 8)
        bytes[i] = (uint8_t)value;
}

/*
 * Reads the header at `data`, of which `size` bytes have arrived; no byte past them is read.
 *
 * Returns WS_OK, WS_INCOMPLETE (`out` is then undefined), or WS_ERR_LENGTH_* as soon as the
 * length field is there: a peer that got it wrong need not be waited for.
 */
static inline int ws_decode_header(const uint8_t *data, size_t size, ws_frame_header *out)
{
    if (size < 2)
        return WS_INCOMPLETE;
    size_t pos = 2;
    uint64_t payload_len = data[1] & 0x7f;
    if (payload_len == 126) {
        if (size < 4)
            return WS_INCOMPLETE;
        payload_len = ws_load_be(data + 2, 2);
        if (payload_len < 126)
            return WS_ERR_LENGTH_NOT_MINIMAL;
        pos = 4;
    } else if (payload_len == 127) {
        if (size < 10)
            return WS_INCOMPLETE;
        payload_len = ws_load_be(data + 2, 8);
        if (payload_len >> 63)
            return WS_ERR_LENGTH_HIGH_BIT;
        if (payload_len < 65536)
            return WS_ERR_LENGTH_NOT_MINIMAL;
        pos = 10;
    }
    out->key = 0;
    out->has_mask = data[1] >> 7;
    if (out->has_mask) {
        if (size - pos < 4)
            return WS_INCOMPLETE;
        memcpy(&out->key, data + pos, 4);
        pos += 4;
    }
    out->payload_len = payload_len;
    out->opcode = data[0] & 0x0f;
    out->fin = data[0] >> 7;
    out->rsv = data[0] >> 4 & 7;
    out->size = (uint8_t)pos;
    return WS_OK;
}

/* Bytes that ws_encode_header writes for such a frame. */
static inline size_t ws_header_size(uint64_t payload_len, int has_mask)
{
    const size_t size = payload_len < 126 ? 2 : payload_len < 65536 ? 4 : 10;
    return has_mask ? size + 4 : size;
}

/*
 * Writes a header at `dst`, which has room for WS_MAX_HEADER_SIZE bytes; returns the bytes written.
 *
 * `opcode` is at most 15, `rsv` at most 7 and `payload_len` below 2^63. `key` is in wire byte
 * order, and is written only with `has_mask`.
 */
static inline size_t ws_encode_header(uint8_t *dst, uint8_t opcode, int fin, uint8_t rsv, uint64_t payload_len,
                                      int has_mask, uint32_t key)
{
    const uint8_t mask_bit = has_mask ? 0x80 : 0;
    size_t size = 2;
    dst[0] = (uint8_t)((fin ? 0x80 : 0) | rsv << 4 | opcode);
    if (payload_len < 126) {
        dst[1] = (uint8_t)(mask_bit | payload_len);
    } else if (payload_len < 65536) {
        dst[1] = mask_bit | 126;
        ws_store_be(dst + 2, 2, payload_len);
        size = 4;
    } else {
        dst[1] = mask_bit | 127;
        ws_store_be(dst + 2, 8, payload_len);
        size = 10;
    }
    if (has_mask) {
        memcpy(dst + size, &key, 4);
        size += 4;
    }
    return size;
}

#endif
