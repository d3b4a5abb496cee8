/*
 * Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2, step 5.4): the SHA-1 (FIPS 180-4) of the key and
 * a constant, in base64. The digest protects nothing; it shows that the server speaks WebSocket.
 */
#ifndef WS_ACCEPT_VALUE_H
#define WS_ACCEPT_VALUE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WS_KEY_SIZE = 24,                   /* characters */
    WS_ACCEPT_SIZE = 28,
    WS_SHA1_BLOCK = 64                  /* bytes */
};

static inline uint32_t ws_rotate_left(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

/* FIPS 180-4 section 6.1.2: one block of the message. */
static inline void ws_sha1_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80];
    for (int t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int t = 16; t < 80; t++)
        w[t] = ws_rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20)
            f = (b & c) | (~b & d), k = 0x5a827999;
        else if (t < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (t < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        const uint32_t next = ws_rotate_left(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = ws_rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* Base64 (RFC 4648 section 4) of three bytes. */
static inline void ws_base64_group(const uint8_t *bytes, uint8_t *text)
{
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
    for (int i = 0; i < 4; i++)
        text[i] = (uint8_t)ALPHABET[bits >> (18 - 6 * i) & 63];
}

/* `key` has WS_KEY_SIZE characters, `accept` room for WS_ACCEPT_SIZE. */
static inline void ws_accept_value(const uint8_t *key, uint8_t *accept)
{
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    /* The message, a one bit, zeros, and the number of its bits, 480, as the last of two blocks ends. */
    uint8_t message[2 * WS_SHA1_BLOCK] = {0};
    memcpy(message, key, WS_KEY_SIZE);
    memcpy(message + WS_KEY_SIZE, GUID, sizeof GUID - 1);
    message[WS_KEY_SIZE + sizeof GUID - 1] = 0x80;
    message[2 * WS_SHA1_BLOCK - 2] = 480 >> 8;
    message[2 * WS_SHA1_BLOCK - 1] = 480 & 0xff;
    ws_sha1_block(state, message);
    ws_sha1_block(state, message + WS_SHA1_BLOCK);

    uint8_t digest[21] = {0};           /* and a zero that fills the last group */
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    for (int i = 0; i < 7; i++)
        ws_base64_group(digest + 3 * i, accept + 4 * i);
    accept[WS_ACCEPT_SIZE - 1] = '=';
}

#endif
