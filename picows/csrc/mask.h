/*
 * Masking, RFC 6455 section 5.3: octet i of the payload is XORed with octet i MOD 4 of the key.
 */
#ifndef WS_MASK_H
#define WS_MASK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Masks (or unmasks) `size` bytes from `src` to `dst`, starting with the key's first octet.
 *
 * `dst` may equal `src`; otherwise the two do not overlap. Neither needs alignment. `key` holds its
 * four octets in wire order. Nothing outside the `size` bytes is read or written.
 */
typedef void (*ws_mask_fn)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);

typedef struct ws_mask_impl {
    const char *name;
    ws_mask_fn apply;
} ws_mask_impl;

/* The key for a piece that starts `pos` octets into the payload. */
static inline uint32_t ws_key_at(uint32_t key, size_t pos)
{
    const unsigned bits = (unsigned)(pos & 3) * 8;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return key << bits | key >> ((32 - bits) & 31);
#else
    return key >> bits | key << ((32 - bits) & 31);
#endif
}

/* The best kernel for this CPU. Asks the CPU each time: call it once and keep the answer. */
const ws_mask_impl *ws_mask_select(void);

/* Every kernel this CPU can run, the best first; NULL past the last. */
const ws_mask_impl *ws_mask_available(size_t index);

#ifdef __cplusplus
}
#endif

#endif
