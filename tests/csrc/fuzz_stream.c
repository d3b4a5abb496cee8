/*
 * One input of the fuzzer, for libFuzzer or for fuzz_main.c: two octets of settings, then a stream.
 *
 * The stream goes through the whole receiver twice, in one piece and cut up, and both must see the
 * same frames and the same end. What is read lies in blocks of exactly its size, so that the address
 * sanitizer sees every octet too far. Kernels, UTF-8 and headers are held against their definitions.
 */
#include "frame_rules.h"
#include "mask.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a receiver saw: the end, and a hash over every complete frame. */
typedef struct trace {
    int status;
    uint64_t hash;
} trace;

#define REQUIRE(fact)                                                           \
    do {                                                                        \
        if (!(fact)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #fact);  \
            abort();                                                            \
        }                                                                       \
    } while (0)

static uint8_t *exact_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    REQUIRE(copy != NULL || size == 0);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* `size` octets of a payload from `pos` on, unmasked, in a block of their own. */
static uint8_t *unmasked_copy(const uint8_t *payload, size_t pos, size_t size, const ws_frame_header *header)
{
    uint8_t *copy = exact_copy(payload + pos, size);
    if (header->has_mask)
        ws_mask_select()->apply(copy, copy, size, ws_key_at(header->key, pos));
    return copy;
}

static void hash_octets(trace *seen, const uint8_t *octets, size_t size)
{
    for (size_t i = 0; i < size; i++)
        seen->hash = (seen->hash ^ octets[i]) * 0x100000001b3u;
}

static void check_round_trip(const ws_frame_header *header, const uint8_t *wire)
{
    uint8_t *encoded = malloc(header->size);
    REQUIRE(encoded != NULL);
    REQUIRE(ws_header_size(header->payload_len, header->has_mask) == header->size);
    REQUIRE(ws_encode_header(encoded, header->opcode, header->fin, header->rsv, header->payload_len,
                             header->has_mask, header->key) == header->size);
    REQUIRE(memcmp(encoded, wire, header->size) == 0);
    free(encoded);
}

/* Text that has newly arrived: octets `checked` to `arrived` of the payload. */
static int check_new_text(ws_frame_rules *rules, const ws_frame_header *header, const uint8_t *payload,
                          size_t checked, size_t arrived)
{
    uint8_t *text = unmasked_copy(payload, checked, arrived - checked, header);
    const int status = ws_check_text(rules, text, arrived - checked);
    free(text);
    return status;
}

static int end_frame(ws_frame_rules *rules, const ws_frame_header *header, const uint8_t *payload, trace *seen)
{
    const size_t size = (size_t)header->payload_len;
    const uint8_t facts[3] = {header->opcode, header->fin, header->rsv};
    uint8_t *octets = unmasked_copy(payload, 0, size, header);
    int status = header->opcode == WS_OPCODE_CLOSE ? ws_check_close(octets, size) : WS_OK;
    if (status == WS_OK)
        status = ws_end_frame(rules, header);
    if (status == WS_OK) {
        hash_octets(seen, facts, sizeof facts);
        hash_octets(seen, octets, size);
    }
    free(octets);
    return status;
}

/* Takes whole frames off `unread` until one is incomplete or the stream has failed; returns the octets taken. */
static size_t take_frames(ws_frame_rules *rules, const uint8_t *unread, size_t size, size_t *checked, trace *seen)
{
    size_t pos = 0;
    for (;;) {
        ws_frame_header header;
        seen->status = ws_decode_header(unread + pos, size - pos, &header);
        if (seen->status != WS_OK)
            return pos;
        check_round_trip(&header, unread + pos);
        seen->status = ws_check_header(rules, &header);
        if (seen->status != WS_OK)
            return pos;
        const uint8_t *payload = unread + pos + header.size;
        const size_t present = size - pos - header.size;
        const size_t arrived = header.payload_len < present ? (size_t)header.payload_len : present;
        if (ws_frame_wants_text_check(rules, &header)) {
            seen->status = check_new_text(rules, &header, payload, *checked, arrived);
            *checked = arrived;
        }
        if (seen->status == WS_OK && arrived == header.payload_len)
            seen->status = end_frame(rules, &header, payload, seen);
        else if (seen->status == WS_OK)
            seen->status = WS_INCOMPLETE;
        if (seen->status != WS_OK)
            return pos;
        pos += header.size + arrived;
        *checked = 0;
    }
}

/* The stream as it arrives in pieces whose sizes `cuts` decides; 0 leaves it whole. */
static trace receive(ws_frame_rules rules, const uint8_t *stream, size_t size, uint32_t cuts)
{
    trace seen = {WS_INCOMPLETE, 0xcbf29ce484222325u};
    size_t begin = 0, arrived = 0, checked = 0;
    while (arrived < size && seen.status == WS_INCOMPLETE) {
        cuts = cuts * 1664525u + (cuts ? 1013904223u : 0);
        const size_t piece = cuts ? 1 + (cuts >> 16) % 40 : size;
        arrived = size - arrived < piece ? size : arrived + piece;
        uint8_t *unread = exact_copy(stream + begin, arrived - begin);
        begin += take_frames(&rules, unread, arrived - begin, &checked, &seen);
        free(unread);
    }
    REQUIRE(seen.status > WS_OK && seen.status < WS_STATUS_COUNT);
    REQUIRE(rules.message_opcode <= WS_OPCODE_BINARY && rules.utf8_state <= WS_UTF8_REJECT);
    return seen;
}

static ws_frame_rules settings(uint8_t bits)
{
    ws_frame_rules rules;
    memset(&rules, 0, sizeof rules);
    rules.expects_mask = bits & 1;
    rules.strict = bits >> 1 & 1;
    rules.validate_utf8 = bits >> 2 & 1;
    rules.allowed_rsv = bits >> 3 & 7;
    rules.max_payload_size = bits & 0x40 ? 300 : UINT64_MAX;
    return rules;
}

static void check_stream(uint8_t bits, uint8_t cuts, const uint8_t *stream, size_t size)
{
    const trace whole = receive(settings(bits), stream, size, 0);
    const trace pieces = receive(settings(bits), stream, size, cuts + 1u);
    REQUIRE(whole.status == pieces.status);
    REQUIRE(whole.hash == pieces.hash);
}

/* RFC 6455 section 5.3, octet by octet. */
static void check_kernel(const ws_mask_impl *kernel, const uint8_t *src, size_t size, uint32_t key)
{
    uint8_t key_octets[4];
    uint8_t *copy = malloc(size), *in_place = exact_copy(src, size);
    REQUIRE(copy != NULL || size == 0);
    memcpy(key_octets, &key, 4);
    kernel->apply(copy, src, size, key);
    kernel->apply(in_place, in_place, size, key);
    for (size_t i = 0; i < size; i++) {
        REQUIRE(copy[i] == (src[i] ^ key_octets[i % 4]));
        REQUIRE(in_place[i] == copy[i]);
    }
    free(copy);
    free(in_place);
}

/* How many octets the well-formed character at `text` has (RFC 3629 section 4, table by table); 0: none there. */
static size_t character_size(const uint8_t *text, size_t size)
{
    static const struct { uint8_t first, last, low, high; size_t size; } forms[] = {
        {0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last)
            continue;
        if (forms[i].size > size || (size > 1 && (text[1] < forms[i].low || text[1] > forms[i].high) && text[0] > 0x7f))
            return 0;
        for (size_t j = 2; j < forms[i].size; j++) {
            if (text[j] >> 6 != 2)
                return 0;
        }
        return forms[i].size;
    }
    return 0;
}

static void check_utf8(const uint8_t *text, size_t size)
{
    size_t pos = 0, step = 1;
    while (pos < size && step > 0) {
        step = character_size(text + pos, size - pos);
        pos += step;
    }
    const uint32_t state = ws_utf8_feed(WS_UTF8_ACCEPT, text, size);
    REQUIRE((state == WS_UTF8_ACCEPT) == (pos == size));
    const size_t cut = size / 2;
    REQUIRE(ws_utf8_feed(ws_utf8_feed(WS_UTF8_ACCEPT, text, cut), text + cut, size - cut) == state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t key = 0;
    uint8_t *stream = exact_copy(data + 2, size - 2);
    size -= 2;
    memcpy(&key, stream, size < 4 ? size : 4);
    check_stream(data[0], data[1], stream, size);
    check_utf8(stream, size);
    for (size_t i = 0; ws_mask_available(i) != NULL; i++)
        check_kernel(ws_mask_available(i), stream, size, key);
    free(stream);
    return 0;
}
