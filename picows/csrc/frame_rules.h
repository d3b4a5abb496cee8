/*
 * The rules for a stream of frames, RFC 6455 sections 5.1, 5.4, 5.5, 7.4 and 8.1.
 *
 * A receiver decodes a header, asks ws_check_header, passes text through ws_check_text in pieces of
 * any size as it arrives (unmasked), and calls ws_end_frame once the payload is complete. Only the
 * last two move the state. After an error the connection has failed, and nothing more is asked.
 */
#ifndef WS_FRAME_RULES_H
#define WS_FRAME_RULES_H

#include "frame_header.h"
#include "utf8.h"

/* Zero, and the settings filled in, is the state at the start of a connection. */
typedef struct ws_frame_rules {
    uint64_t max_payload_size;          /* bytes of one frame; UINT64_MAX: no limit */
    uint8_t expects_mask;               /* server side: the peer must mask; client side: it must not */
    uint8_t strict;                     /* also refuse reserved bits and frames out of order */
    uint8_t allowed_rsv;                /* WS_RSV* bits that an extension owns; the extension judges their use */
    uint8_t validate_utf8;
    uint8_t message_opcode;             /* TEXT or BINARY of the fragmented message under way, else 0 */
    uint8_t checks_text;                /* the message under way is text to be validated */
    uint8_t is_inside_character;        /* its fragments so far end inside a character */
    uint32_t utf8_state;                /* of the text seen so far, the incomplete frame's included */
} ws_frame_rules;

static inline int ws_is_control(uint8_t opcode)
{
    return opcode & 8;
}

/* Section 5.4; without `strict` any order passes, except that text never ends inside a character. */
static inline int ws_check_order(const ws_frame_rules *rules, const ws_frame_header *header)
{
    if (header->opcode == WS_OPCODE_CONTINUATION)
        return rules->strict && !rules->message_opcode ? WS_ERR_CONTINUATION_UNEXPECTED : WS_OK;
    if (!rules->message_opcode)
        return WS_OK;
    if (rules->strict)
        return WS_ERR_CONTINUATION_EXPECTED;
    return rules->is_inside_character ? WS_ERR_UTF8 : WS_OK;
}

/*
 * Whether this header may come now. Changes nothing, so it may be asked again for the same header
 * while its payload is incomplete.
 */
static inline int ws_check_header(const ws_frame_rules *rules, const ws_frame_header *header)
{
    /* Larger than any object of this process can be, whatever the limit says. */
    const uint64_t addressable = (uint64_t)PTRDIFF_MAX - WS_MAX_HEADER_SIZE;
    const unsigned known_opcodes = 0x0707;
    if (!(known_opcodes >> header->opcode & 1))
        return WS_ERR_OPCODE;
    /* RFC 7692 section 6.1, and no other extension needs them there: control frames have none. */
    if (rules->strict && (header->rsv & ~(ws_is_control(header->opcode) ? 0u : rules->allowed_rsv)))
        return WS_ERR_RSV;
    if (header->has_mask != rules->expects_mask)
        return header->has_mask ? WS_ERR_MASK_UNEXPECTED : WS_ERR_MASK_MISSING;
    if (ws_is_control(header->opcode)) {
        if (!header->fin)
            return WS_ERR_CONTROL_FRAGMENTED;
        if (header->payload_len > WS_MAX_CONTROL_PAYLOAD)
            return WS_ERR_CONTROL_TOO_LONG;
    } else {
        const int status = ws_check_order(rules, header);
        if (status != WS_OK)
            return status;
    }
    if (header->payload_len > rules->max_payload_size || header->payload_len > addressable)
        return WS_ERR_TOO_BIG;
    return WS_OK;
}

/*
 * Whether the payload of this accepted frame goes through ws_check_text.
 *
 * RFC 7692 section 6: with RSV1 on its first frame the message is compressed, and its text is not
 * known before it is inflated.
 */
static inline int ws_frame_wants_text_check(const ws_frame_rules *rules, const ws_frame_header *header)
{
    if (header->opcode == WS_OPCODE_TEXT)
        return rules->validate_utf8 && !(header->rsv & WS_RSV1);
    return header->opcode == WS_OPCODE_CONTINUATION && rules->checks_text;
}

/* The next piece of text of the frame under way. WS_ERR_UTF8 at the first octet that cannot be right. */
static inline int ws_check_text(ws_frame_rules *rules, const uint8_t *payload, size_t size)
{
    rules->utf8_state = ws_utf8_feed(rules->utf8_state, payload, size);
    return rules->utf8_state == WS_UTF8_REJECT ? WS_ERR_UTF8 : WS_OK;
}

/*
 * An accepted frame is complete. WS_ERR_UTF8 when the message ends with it inside a character.
 *
 * Section 5.4: control frames may come between fragments, so they leave the message alone. So does
 * a continuation of nothing, which only a receiver that is not strict gets to see.
 */
static inline int ws_end_frame(ws_frame_rules *rules, const ws_frame_header *header)
{
    if (ws_is_control(header->opcode))
        return WS_OK;
    if (header->opcode != WS_OPCODE_CONTINUATION) {
        rules->message_opcode = header->opcode;
        rules->checks_text = (uint8_t)ws_frame_wants_text_check(rules, header);
    }
    const int is_inside_character = rules->checks_text && rules->utf8_state != WS_UTF8_ACCEPT;
    if (!header->fin) {
        rules->is_inside_character = (uint8_t)is_inside_character;
        return WS_OK;
    }
    rules->message_opcode = 0;
    rules->checks_text = 0;
    rules->is_inside_character = 0;
    rules->utf8_state = WS_UTF8_ACCEPT;
    return is_inside_character ? WS_ERR_UTF8 : WS_OK;
}

/* Section 7.4: whether a CLOSE frame may carry this code. 1004-1006 and 1015 never, 3000-4999 are the users'. */
static inline int ws_is_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* The payload of a CLOSE frame: nothing, or a code and a reason (section 5.5.1). */
static inline int ws_check_close(const uint8_t *payload, size_t size)
{
    if (size == 0)
        return WS_OK;
    if (size == 1)
        return WS_ERR_CLOSE_LENGTH;
    if (!ws_is_close_code((unsigned)ws_load_be(payload, 2)))
        return WS_ERR_CLOSE_CODE;
    if (ws_utf8_feed(WS_UTF8_ACCEPT, payload + 2, size - 2) != WS_UTF8_ACCEPT)
        return WS_ERR_CLOSE_REASON;
    return WS_OK;
}

#endif
