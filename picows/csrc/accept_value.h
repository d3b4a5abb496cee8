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

typedef struct ws_sha1_words {
    uint32_t a, b, c, d, e;
} ws_sha1_words;

static inline ws_sha1_words ws_sha1_step(ws_sha1_words v, uint32_t term)
{
    const ws_sha1_words next = {ws_rotate_left(v.a, 5) + v.e + term, v.a, ws_rotate_left(v.b, 30), v.c, v.d};
    return next;
}

/* FIPS 180-4 section 6.1.2: one block of the message. */
static inline void ws_sha1_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80];
    for (int t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int t = 16; t < 80; t++)
        w[t] = ws_rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    ws_sha1_words v = {state[0], state[1], state[2], state[3], state[4]};
    for (int t = 0; t < 20; t++)
        v = ws_sha1_step(v, ((v.b & v.c) | (~v.b & v.d)) + 0x5a827999 + w[t]);
    for (int t = 20; t < 40; t++)
        v = ws_sha1_step(v, (v.b ^ v.c ^ v.d) + 0x6ed9eba1 + w[t]);
    for (int t = 40; t < 60; t++)
        v = ws_sha1_step(v, ((v.b & v.c) | (v.b & v.d) | (v.c & v.d)) + 0x8f1bbcdc + w[t]);
    for (int t = 60; t < 80; t++)
        v = ws_sha1_step(v, (v.b ^ v.c ^ v.d) + 0xca62c1d6 + w[t]);
    state[0] += v.a;
    state[1] += v.b;
    state[2] += v.c;
    state[3] += v.d;
    state[4] += v.e;
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
