/* The value of Sec-WebSocket-Accept (RFC 6455 section 4.2.2): SHA-1 (RFC 3174) and base64 (RFC 4648). */
#ifndef ACCEPT_KEY_H
#define ACCEPT_KEY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t rotate_left(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

static void sha1_block(uint32_t state[5], const uint8_t block[64])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 |
               block[4 * t + 3];
    for (int t = 16; t < 80; t++)
        w[t] = rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20)
            f = (b & c) | (~b & d), k = 0x5A827999;
        else if (t < 40)
            f = b ^ c ^ d, k = 0x6ED9EBA1;
        else if (t < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
        else
            f = b ^ c ^ d, k = 0xCA62C1D6;
        const uint32_t next = rotate_left(a, 5) + f + e + w[t] + k;
        e = d, d = c, c = rotate_left(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* `key` is what the client sent, 24 characters; `out` gets 28 characters and a zero. */
static void accept_key(const char *key, char out[29])
{
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t blocks[128] = {0}, digest[21] = {0};
    snprintf((char *)blocks, sizeof blocks, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    blocks[60] = 0x80;
    blocks[126] = 60 * 8 >> 8; /* the message has 60 bytes */
    blocks[127] = 60 * 8 & 255;
    sha1_block(state, blocks);
    sha1_block(state, blocks + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 28; i++) {
        const int bit = 6 * i;
        const unsigned pair = (unsigned)digest[bit / 8] << 8 | (bit / 8 < 20 ? digest[bit / 8 + 1] : 0);
        out[i] = alphabet[pair >> (10 - bit % 8) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

#endif
