/*
 * UTF-8 as RFC 3629 section 4 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
 *
 * Text arrives in pieces, cut anywhere. What has to be remembered between two pieces is how many
 * octets the character still lacks and which range the next one must lie in, so the state is just
 * that: lacking | lowest << 8 | highest << 16.
 */
#ifndef WS_UTF8_H
#define WS_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WS_UTF8_ACCEPT = 0,                 /* valid, and at a character boundary */
    WS_UTF8_REJECT = 0x00ff01           /* invalid for good: its range, 0xff to 0, holds no octet */
};

static inline uint32_t ws_utf8_expect(uint32_t lacking, uint32_t lowest, uint32_t highest)
{
    return lacking | lowest << 8 | highest << 16;
}

/* The state after the first octet of a character. */
static inline uint32_t ws_utf8_lead(uint8_t octet)
{
    if (octet < 0x80)
        return WS_UTF8_ACCEPT;
    if (octet < 0xc2)                   /* a continuation octet, or the lead of an overlong pair */
        return WS_UTF8_REJECT;
    if (octet < 0xe0)
        return ws_utf8_expect(1, 0x80, 0xbf);
    if (octet < 0xf0)                   /* E0: no overlong forms; ED: no surrogates */
        return ws_utf8_expect(2, octet == 0xe0 ? 0xa0 : 0x80, octet == 0xed ? 0x9f : 0xbf);
    if (octet < 0xf5)                   /* F0: no overlong forms; F4: at most U+10FFFF */
        return ws_utf8_expect(3, octet == 0xf0 ? 0x90 : 0x80, octet == 0xf4 ? 0x8f : 0xbf);
    return WS_UTF8_REJECT;
}

/* The state after one more octet of a character under way. */
static inline uint32_t ws_utf8_follow(uint32_t state, uint8_t octet)
{
    const uint32_t lacking = (state & 0xff) - 1;
    if (octet < (state >> 8 & 0xff) || octet > state >> 16)
        return WS_UTF8_REJECT;
    if (lacking == 0)
        return WS_UTF8_ACCEPT;
    return ws_utf8_expect(lacking, 0x80, 0xbf);
}

/* How many of the octets from `pos` on need no look of their own: whole ASCII words. */
static inline size_t ws_utf8_skip_ascii(const uint8_t *data, size_t pos, size_t size)
{
    const uint64_t high_bits = 0x8080808080808080u;
    uint64_t words[4];
    while (size - pos >= sizeof words) {
        memcpy(words, data + pos, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) & high_bits)
            break;
        pos += sizeof words;
    }
    while (size - pos >= sizeof words[0]) {
        memcpy(words, data + pos, sizeof words[0]);
        if (words[0] & high_bits)
            break;
        pos += sizeof words[0];
    }
    return pos;
}

/*
 * The state after `size` more octets; start with WS_UTF8_ACCEPT.
 *
 * WS_UTF8_REJECT comes at the first octet that cannot continue valid text, and stays.
 */
static inline uint32_t ws_utf8_feed(uint32_t state, const uint8_t *data, size_t size)
{
    size_t pos = 0;
    while (pos < size && state != WS_UTF8_REJECT) {
        if (state != WS_UTF8_ACCEPT) {
            state = ws_utf8_follow(state, data[pos++]);
            continue;
        }
        pos = ws_utf8_skip_ascii(data, pos, size);
        while (pos < size && state == WS_UTF8_ACCEPT)
            state = ws_utf8_lead(data[pos++]);
    }
    return state;
}

#endif
