/*
 * UTF-8 as RFC 3629 section 4 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
 *
 * Text arrives in pieces, cut anywhere, so the validator is a state machine: the state says which
 * octets may come next. One octet costs a load and a shift and no branch, whatever the language:
 * the row of an octet holds the next state for every present state, six bits each, and a state is
 * the place of its six bits.
 */
#ifndef WS_UTF8_H
#define WS_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WS_UTF8_ACCEPT = 0,                 /* valid, and at a character boundary */
    WS_UTF8_LACKS_1 = 6,                /* so many octets from 80 to BF are to come */
    WS_UTF8_LACKS_2 = 12,
    WS_UTF8_LACKS_3 = 18,
    WS_UTF8_AFTER_E0 = 24,              /* A0-BF: below would be overlong */
    WS_UTF8_AFTER_ED = 30,              /* 80-9F: above would be a surrogate */
    WS_UTF8_AFTER_F0 = 36,              /* 90-BF: below would be overlong */
    WS_UTF8_AFTER_F4 = 42,              /* 80-8F: above would be past U+10FFFF */
    WS_UTF8_REJECT = 48                 /* invalid for good */
};

/* Where an octet leads from the four states that lack something unspecific, and from the four "after". */
#define WS_UTF8_ROW(accept, lacks_1, lacks_2, lacks_3, after_e0, after_ed, after_f0, after_f4)              \
    ((uint64_t)(accept) | (uint64_t)(lacks_1) << 6 | (uint64_t)(lacks_2) << 12 | (uint64_t)(lacks_3) << 18   \
     | (uint64_t)(after_e0) << 24 | (uint64_t)(after_ed) << 30 | (uint64_t)(after_f0) << 36                  \
     | (uint64_t)(after_f4) << 42 | (uint64_t)WS_UTF8_REJECT << WS_UTF8_REJECT)
#define WS_UTF8_FIRST(next) WS_UTF8_ROW(next, 48, 48, 48, 48, 48, 48, 48)
#define WS_UTF8_NEXT(after_e0, after_ed, after_f0, after_f4) \
    WS_UTF8_ROW(48, WS_UTF8_ACCEPT, WS_UTF8_LACKS_1, WS_UTF8_LACKS_2, after_e0, after_ed, after_f0, after_f4)
#define WS_UTF8_4(row) row, row, row, row
#define WS_UTF8_16(row) WS_UTF8_4(row), WS_UTF8_4(row), WS_UTF8_4(row), WS_UTF8_4(row)

static const uint64_t WS_UTF8_ROWS[256] = {
    WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)), WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)),           /* 00-1F */
    WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)), WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)),           /* 20-3F */
    WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)), WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)),           /* 40-5F */
    WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)), WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_ACCEPT)),           /* 60-7F */
    WS_UTF8_16(WS_UTF8_NEXT(WS_UTF8_REJECT, WS_UTF8_LACKS_1, WS_UTF8_REJECT, WS_UTF8_LACKS_2)),     /* 80-8F */
    WS_UTF8_16(WS_UTF8_NEXT(WS_UTF8_REJECT, WS_UTF8_LACKS_1, WS_UTF8_LACKS_2, WS_UTF8_REJECT)),     /* 90-9F */
    WS_UTF8_16(WS_UTF8_NEXT(WS_UTF8_LACKS_1, WS_UTF8_REJECT, WS_UTF8_LACKS_2, WS_UTF8_REJECT)),     /* A0-AF */
    WS_UTF8_16(WS_UTF8_NEXT(WS_UTF8_LACKS_1, WS_UTF8_REJECT, WS_UTF8_LACKS_2, WS_UTF8_REJECT)),     /* B0-BF */
    WS_UTF8_FIRST(WS_UTF8_REJECT), WS_UTF8_FIRST(WS_UTF8_REJECT),                                   /* C0-C1 */
    WS_UTF8_FIRST(WS_UTF8_LACKS_1), WS_UTF8_FIRST(WS_UTF8_LACKS_1),                                 /* C2-C3 */
    WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_1)), WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_1)),           /* C4-CB */
    WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_1)), WS_UTF8_16(WS_UTF8_FIRST(WS_UTF8_LACKS_1)),          /* CC-DF */
    WS_UTF8_FIRST(WS_UTF8_AFTER_E0), WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_2)),                     /* E0-E4 */
    WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_2)), WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_LACKS_2)),           /* E5-EC */
    WS_UTF8_FIRST(WS_UTF8_AFTER_ED), WS_UTF8_FIRST(WS_UTF8_LACKS_2), WS_UTF8_FIRST(WS_UTF8_LACKS_2), /* ED-EF */
    WS_UTF8_FIRST(WS_UTF8_AFTER_F0), WS_UTF8_FIRST(WS_UTF8_LACKS_3), WS_UTF8_FIRST(WS_UTF8_LACKS_3), /* F0-F2 */
    WS_UTF8_FIRST(WS_UTF8_LACKS_3), WS_UTF8_FIRST(WS_UTF8_AFTER_F4), WS_UTF8_FIRST(WS_UTF8_REJECT), /* F3-F5 */
    WS_UTF8_FIRST(WS_UTF8_REJECT), WS_UTF8_FIRST(WS_UTF8_REJECT),                                   /* F6-F7 */
    WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_REJECT)), WS_UTF8_4(WS_UTF8_FIRST(WS_UTF8_REJECT)),             /* F8-FF */
};

/* The state after `size` octets, looked at one by one. */
static inline uint32_t ws_utf8_step(uint32_t state, const uint8_t *data, size_t size)
{
    uint64_t next = state;
    for (size_t i = 0; i < size; i++)
        next = WS_UTF8_ROWS[data[i]] >> (next & 63);
    return (uint32_t)(next & 63);
}

/*
 * The state after `size` more octets; start with WS_UTF8_ACCEPT.
 *
 * WS_UTF8_REJECT comes in the piece with the first octet that cannot continue valid text, and stays.
 */
static inline uint32_t ws_utf8_feed(uint32_t state, const uint8_t *data, size_t size)
{
    const uint64_t high_bits = 0x8080808080808080u;
    uint64_t words[4];
    size_t pos = 0;
    while (size - pos >= sizeof words[0]) {
        if (state == WS_UTF8_ACCEPT && size - pos >= sizeof words) {
            memcpy(words, data + pos, sizeof words);
            if (((words[0] | words[1] | words[2] | words[3]) & high_bits) == 0) {
                pos += sizeof words;
                continue;
            }
        }
        memcpy(words, data + pos, sizeof words[0]);
        if (state != WS_UTF8_ACCEPT || (words[0] & high_bits))
            state = ws_utf8_step(state, data + pos, sizeof words[0]);
        pos += sizeof words[0];
    }
    return ws_utf8_step(state, data + pos, size - pos);
}

static inline int ws_is_ascii(const uint8_t *data, size_t size)
{
    const uint64_t high_bits = 0x8080808080808080u;
    uint64_t words[8], seen = 0;
    size_t pos = 0;
    for (; size - pos >= sizeof words; pos += sizeof words) {
        memcpy(words, data + pos, sizeof words);
        for (size_t i = 0; i < 8; i++)
            seen |= words[i];
        if (seen & high_bits)
            return 0;
    }
    for (; pos < size; pos++)
        seen |= data[pos];
    return (seen & high_bits) == 0;
}

#undef WS_UTF8_ROW
#undef WS_UTF8_FIRST
#undef WS_UTF8_NEXT
#undef WS_UTF8_4
#undef WS_UTF8_16

#endif
