/*
 * The masking kernels, for every machine in one source, and the choice among them.
 *
 * Most payloads are short, so a kernel has few branches: it covers a payload with pieces that may
 * overlap instead of finishing it octet by octet. `dst` may equal `src`; hence a piece that overlaps
 * another is loaded before either is stored. Long payloads are stored at aligned addresses, which
 * saves a quarter of the time. docs/design/0002-masking.md has the figures.
 */
#include "mask.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define WS_SIMD128 "sse2"               /* part of the architecture: nothing to ask the CPU */
#if defined(__GNUC__) && !defined(_MSC_VER)
#define WS_AVX2 __attribute__((target("avx2")))
#endif
#elif (defined(__aarch64__) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#include <arm_neon.h>
#define WS_SIMD128 "neon"
#endif

/* The definition, eight octets at a time; any machine, either byte order. */
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

#ifdef WS_SIMD128

static inline void mask_up_to_3(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    if (size == 0)
        return;
    const size_t middle = size / 2, last = size - 1;
    const uint8_t head = (uint8_t)(src[0] ^ key);       /* little-endian: the first octet is the lowest */
    const uint8_t centre = (uint8_t)(src[middle] ^ ws_key_at(key, middle));
    const uint8_t tail = (uint8_t)(src[last] ^ ws_key_at(key, last));
    dst[0] = head;
    dst[middle] = centre;
    dst[last] = tail;
}

static inline void mask_4_to_7(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    uint32_t head, tail;
    memcpy(&head, src, 4);
    memcpy(&tail, src + size - 4, 4);
    head ^= key;
    tail ^= ws_key_at(key, size);          /* size and size - 4 meet the same octet of the key */
    memcpy(dst, &head, 4);
    memcpy(dst + size - 4, &tail, 4);
}

static inline void mask_8_to_16(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    const uint32_t tail_key = ws_key_at(key, size);
    uint64_t head, tail;
    memcpy(&head, src, 8);
    memcpy(&tail, src + size - 8, 8);
    head ^= (uint64_t)key << 32 | key;
    tail ^= (uint64_t)tail_key << 32 | tail_key;
    memcpy(dst, &head, 8);
    memcpy(dst + size - 8, &tail, 8);
}

static inline void mask_up_to_16(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    if (size >= 8)
        mask_8_to_16(dst, src, size, key);
    else if (size >= 4)
        mask_4_to_7(dst, src, size, key);
    else
        mask_up_to_3(dst, src, size, key);
}

/* Sixteen octets at once, in the words of either machine. */
#if defined(__x86_64__) || defined(_M_X64)
typedef __m128i block16;

static inline block16 repeat16(uint32_t key)
{
    return _mm_set1_epi32((int)key);
}

static inline block16 masked16(const uint8_t *src, block16 key)
{
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)src), key);
}

static inline void store16(uint8_t *dst, block16 octets)
{
    _mm_storeu_si128((__m128i *)dst, octets);
}
#else
typedef uint8x16_t block16;

static inline block16 repeat16(uint32_t key)
{
    return vreinterpretq_u8_u32(vdupq_n_u32(key));
}

static inline block16 masked16(const uint8_t *src, block16 key)
{
    return veorq_u8(vld1q_u8(src), key);
}

static inline void store16(uint8_t *dst, block16 octets)
{
    vst1q_u8(dst, octets);
}
#endif

static inline void mask_16_to_32(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    const block16 head = masked16(src, repeat16(key));
    const block16 tail = masked16(src + size - 16, repeat16(ws_key_at(key, size)));
    store16(dst, head);
    store16(dst + size - 16, tail);
}

static void mask_simd128(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    if (size <= 16) {
        mask_up_to_16(dst, src, size, key);
        return;
    }
    if (size <= 32) {
        mask_16_to_32(dst, src, size, key);
        return;
    }
    const block16 head = masked16(src, repeat16(key));
    const block16 tail = masked16(src + size - 16, repeat16(ws_key_at(key, size)));
    size_t i = 16 - ((uintptr_t)dst & 15);
    const block16 key16 = repeat16(ws_key_at(key, i));
    for (; size - i > 64; i += 64) {
        const block16 b0 = masked16(src + i, key16), b1 = masked16(src + i + 16, key16);
        const block16 b2 = masked16(src + i + 32, key16), b3 = masked16(src + i + 48, key16);
        store16(dst + i, b0);
        store16(dst + i + 16, b1);
        store16(dst + i + 32, b2);
        store16(dst + i + 48, b3);
    }
    for (; size - i > 16; i += 16)
        store16(dst + i, masked16(src + i, key16));
    store16(dst, head);
    store16(dst + size - 16, tail);
}

#ifdef WS_AVX2

WS_AVX2 static inline __m256i masked32(const uint8_t *src, __m256i key)
{
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)src), key);
}

WS_AVX2 static inline void store32(uint8_t *dst, __m256i octets)
{
    _mm256_storeu_si256((__m256i *)dst, octets);
}

WS_AVX2 static inline __m256i repeat32(uint32_t key)
{
    return _mm256_set1_epi32((int)key);
}

WS_AVX2 static inline void mask_33_to_128(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    const __m256i head_key = repeat32(key), tail_key = repeat32(ws_key_at(key, size));
    const __m256i head0 = masked32(src, head_key), tail0 = masked32(src + size - 32, tail_key);
    if (size > 64) {
        const __m256i head1 = masked32(src + 32, head_key), tail1 = masked32(src + size - 64, tail_key);
        store32(dst + 32, head1);
        store32(dst + size - 64, tail1);
    }
    store32(dst, head0);
    store32(dst + size - 32, tail0);
}

/* The first 32 octets and the last 128, which between them spare the loop its ragged ends. */
WS_AVX2 static void mask_avx2(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    if (size <= 16) {
        mask_up_to_16(dst, src, size, key);
        return;
    }
    if (size <= 32) {
        mask_16_to_32(dst, src, size, key);
        return;
    }
    if (size <= 128) {
        mask_33_to_128(dst, src, size, key);
        return;
    }
    const __m256i tail_key = repeat32(ws_key_at(key, size)), head = masked32(src, repeat32(key));
    const __m256i tail3 = masked32(src + size - 128, tail_key), tail2 = masked32(src + size - 96, tail_key);
    const __m256i tail1 = masked32(src + size - 64, tail_key), tail0 = masked32(src + size - 32, tail_key);
    size_t i = 32 - ((uintptr_t)dst & 31);
    const __m256i key32 = repeat32(ws_key_at(key, i));
    for (; size - i > 128; i += 128) {
        const __m256i b0 = masked32(src + i, key32), b1 = masked32(src + i + 32, key32);
        const __m256i b2 = masked32(src + i + 64, key32), b3 = masked32(src + i + 96, key32);
        store32(dst + i, b0);
        store32(dst + i + 32, b1);
        store32(dst + i + 64, b2);
        store32(dst + i + 96, b3);
    }
    store32(dst, head);
    store32(dst + size - 128, tail3);
    store32(dst + size - 96, tail2);
    store32(dst + size - 64, tail1);
    store32(dst + size - 32, tail0);
}

static int cpu_has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

#endif /* WS_AVX2 */
#endif /* WS_SIMD128 */

/* The best first. Only AVX2 needs asking for. */
static const ws_mask_impl KERNELS[] = {
#ifdef WS_AVX2
    {"avx2", mask_avx2},
#endif
#ifdef WS_SIMD128
    {WS_SIMD128, mask_simd128},
#endif
    {"scalar", mask_scalar},
};

const ws_mask_impl *ws_mask_available(size_t index)
{
#ifdef WS_AVX2
    if (!cpu_has_avx2())
        index++;
#endif
    return index < sizeof KERNELS / sizeof KERNELS[0] ? &KERNELS[index] : NULL;
}

const ws_mask_impl *ws_mask_select(void)
{
    return ws_mask_available(0);
}
