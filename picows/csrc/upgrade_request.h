/*
 * The upgrade request as nearly every client sends it, read in one pass (RFC 9112 sections 2 to 5, RFC 6455 section
 * 4.2.1).
 *
 * This recognises and never refuses: a request that is incomplete, faulty or merely unusual is left to the readers in
 * Python, which know what to say about it. What is recognised here, they would accept too.
 */
#ifndef WS_UPGRADE_REQUEST_H
#define WS_UPGRADE_REQUEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct ws_span {
    size_t pos;                         /* 0: not there */
    size_t size;
} ws_span;

typedef struct ws_upgrade_request {
    size_t head_size;                   /* bytes, with the empty line at the end */
    ws_span path;
    ws_span key;                        /* 24 characters: 16 bytes in base64 */
    ws_span extensions;                 /* values of headers; their grammar is not looked at */
    ws_span subprotocols;
    ws_span origin;
    uint8_t required;                   /* WS_HAS_* of the headers that were found to be right */
} ws_upgrade_request;

enum {
    WS_HAS_HOST = 1,
    WS_HAS_UPGRADE = 2,
    WS_HAS_CONNECTION = 4,
    WS_HAS_KEY = 8,
    WS_HAS_VERSION = 16,
    WS_HAS_ALL = 31
};

/* Sets of ASCII characters, a bit for each. */
typedef struct ws_charset {
    uint64_t low, high;
} ws_charset;

static const ws_charset WS_TOKEN = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};    /* RFC 9110 section 5.6.2 */
static const ws_charset WS_TARGET = {0xfffffff600000000, 0x7fffffffffffffff};   /* visible, but for the number sign */
static const ws_charset WS_BASE64 = {0x03ff880000000000, 0x07fffffe07fffffe};
static const ws_charset WS_HOST_NAME = {0x03ff600000000000, 0x07fffffe87fffffe}; /* letters, digits, . _ - */
static const ws_charset WS_DIGIT = {0x03ff000000000000, 0};
static const ws_charset WS_SPACE = {0x0000000100000200, 0};

/* Bytes at the beginning of a text that belong to the set. */
static inline size_t ws_span_of(ws_charset set, const uint8_t *text, size_t size)
{
    size_t i = 0;
    for (; i < size && text[i] < 128; i++) {
        const uint64_t half = text[i] < 64 ? set.low : set.high;
        if (!(half >> (text[i] & 63) & 1))
            break;
    }
    return i;
}

/* The same for the characters of a header's value (RFC 9110 section 5.5). */
static inline size_t ws_span_of_value(const uint8_t *text, size_t size)
{
    size_t i = 0;
    while (i < size && ((text[i] >= 0x20 && text[i] != 0x7f) || text[i] == '\t'))
        i++;
    return i;
}

/* Whether a text is a name of a header (RFC 9110 section 5.1). */
static inline int ws_is_field_name(const uint8_t *text, size_t size)
{
    return size > 0 && ws_span_of(WS_TOKEN, text, size) == size;
}

static inline int ws_is_field_value(const uint8_t *text, size_t size)
{
    return ws_span_of_value(text, size) == size;
}

/* Whether a text is a word, in lower case, but for the case of its letters. The text holds no control characters, which
 * the comparison would take for punctuation. */
static inline int ws_is_word(const uint8_t *text, size_t size, const char *word)
{
    size_t i = 0;
    for (; i < size && word[i]; i++)
        if ((text[i] | 0x20) != (uint8_t)word[i])
            return 0;
    return i == size && !word[i];
}

/* Whether a value is a list of tokens with `word` among them. */
static inline int ws_lists_word(const uint8_t *value, size_t size, const char *word)
{
    size_t pos = 0;
    int found = 0;
    for (;;) {
        pos += ws_span_of(WS_SPACE, value + pos, size - pos);
        const size_t token = ws_span_of(WS_TOKEN, value + pos, size - pos);
        if (token == 0)
            return 0;
        found |= ws_is_word(value + pos, token, word);
        pos += token;
        pos += ws_span_of(WS_SPACE, value + pos, size - pos);
        if (pos == size)
            return found;
        if (value[pos++] != ',')
            return 0;
    }
}

/* Whether a value is a name or an IPv4 address, with or without a port. */
static inline int ws_is_plain_host(const uint8_t *value, size_t size)
{
    const size_t name = ws_span_of(WS_HOST_NAME, value, size);
    if (name == 0)
        return 0;
    if (name == size)
        return 1;
    return value[name] == ':' && name + 1 + ws_span_of(WS_DIGIT, value + name + 1, size - name - 1) == size;
}

static inline int ws_is_key(const uint8_t *value, size_t size)
{
    return size == 24 && ws_span_of(WS_BASE64, value, size) == 22 && value[22] == '=' && value[23] == '=';
}

/* Take note of a header that must be there once, and right. */
static inline int ws_note_required(ws_upgrade_request *out, uint8_t which, int is_right)
{
    if (!is_right || (out->required & which))
        return 0;
    out->required |= which;
    return 1;
}

/* Take note of a header that may be there once. */
static inline int ws_note_optional(ws_span *span, size_t pos, size_t size)
{
    if (span->pos)
        return 0;
    span->pos = pos;
    span->size = size;
    return 1;
}

/* Take note of a header, if it means something here; 0: this is not the usual request. */
static inline int ws_note_field(
    ws_upgrade_request *out, const uint8_t *data, ws_span name, ws_span value)
{
    const uint8_t *const text = data + name.pos, *const content = data + value.pos;
    switch (name.size) {
    case 4:
        if (ws_is_word(text, 4, "host"))
            return ws_note_required(out, WS_HAS_HOST, ws_is_plain_host(content, value.size));
        break;
    case 6:
        if (ws_is_word(text, 6, "origin"))
            return ws_note_optional(&out->origin, value.pos, value.size);
        break;
    case 7:
        if (ws_is_word(text, 7, "upgrade"))
            return ws_note_required(out, WS_HAS_UPGRADE, ws_is_word(content, value.size, "websocket"));
        break;
    case 10:
        if (ws_is_word(text, 10, "connection"))
            return ws_note_required(out, WS_HAS_CONNECTION, ws_lists_word(content, value.size, "upgrade"));
        break;
    case 14:
        return !ws_is_word(text, 14, "content-length");
    case 17:
        if (ws_is_word(text, 17, "sec-websocket-key")) {
            out->key = value;
            return ws_note_required(out, WS_HAS_KEY, ws_is_key(content, value.size));
        }
        return !ws_is_word(text, 17, "transfer-encoding");
    case 21:
        if (ws_is_word(text, 21, "sec-websocket-version"))
            return ws_note_required(out, WS_HAS_VERSION, value.size == 2 && !memcmp(content, "13", 2));
        break;
    case 22:
        if (ws_is_word(text, 22, "sec-websocket-protocol"))
            return ws_note_optional(&out->subprotocols, value.pos, value.size);
        break;
    case 24:
        if (ws_is_word(text, 24, "sec-websocket-extensions"))
            return ws_note_optional(&out->extensions, value.pos, value.size);
        break;
    }
    return 1;
}

/* Read a request that begins with `data`: whether it is complete and the usual one.
 *
 * Every span lies within the head; the path is at position 4. A head of more than `max_fields` headers is left alone.
 */
static inline int ws_read_upgrade_request(
    const uint8_t *data, size_t size, size_t max_fields, ws_upgrade_request *out)
{
    static const char BEGIN[] = "GET /", VERSION[] = " HTTP/1.1\r\n";
    memset(out, 0, sizeof *out);
    if (size < sizeof BEGIN - 1 || memcmp(data, BEGIN, sizeof BEGIN - 1))
        return 0;
    out->path.pos = sizeof BEGIN - 2;
    out->path.size = ws_span_of(WS_TARGET, data + out->path.pos, size - out->path.pos);
    size_t pos = out->path.pos + out->path.size;
    if (size - pos < sizeof VERSION - 1 || memcmp(data + pos, VERSION, sizeof VERSION - 1))
        return 0;
    pos += sizeof VERSION - 1;
    for (size_t fields = 0; size - pos >= 2; fields++) {
        if (data[pos] == '\r') {
            out->head_size = pos + 2;
            return data[pos + 1] == '\n' && out->required == WS_HAS_ALL;
        }
        const ws_span name = {pos, ws_span_of(WS_TOKEN, data + pos, size - pos)};
        pos += name.size;
        if (fields == max_fields || name.size == 0 || pos == size || data[pos++] != ':')
            return 0;
        pos += ws_span_of(WS_SPACE, data + pos, size - pos);
        const ws_span value = {pos, ws_span_of_value(data + pos, size - pos)};
        pos += value.size;
        /* Space behind a value belongs to the line, not to the value: to find its end is left to others. */
        if (size - pos < 2 || data[pos - 1] == ' ' || data[pos - 1] == '\t' || memcmp(data + pos, "\r\n", 2))
            return 0;
        pos += 2;
        if (!ws_note_field(out, data, name, value))
            return 0;
    }
    return 0;
}

#endif
