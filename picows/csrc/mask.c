#include "mask.h"

#include <string.h>

/* The definition, eight octets at a time. */
static void mask_scalar(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    const uint64_t key64 = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, src + i, 8);      /* a cast would break aliasing and alignment rules */
        word ^= key64;
        memcpy(dst + i, &word, 8);
    }
    uint8_t key_bytes[4];
    memcpy(key_bytes, &key, 4);
    for (; i < size; i++)
        dst[i] = src[i] ^ key_bytes[i & 3];
}

static const ws_mask_impl MASK_SCALAR = {"scalar", mask_scalar};

const ws_mask_impl *ws_mask_available(size_t index)
{
    return index == 0 ? &MASK_SCALAR : NULL;
}

const ws_mask_impl *ws_mask_select(void)
{
    return ws_mask_available(0);
}
