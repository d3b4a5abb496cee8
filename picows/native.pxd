"""Cython declarations of csrc/: the frame codec, masking, UTF-8, upgrade requests, and the operating system.

The headers say what each function means. The masking kernels (csrc/mask.c) are part of one module, `native`.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "csrc/frame_header.h" nogil:
    enum ws_status:
        WS_OK
        WS_INCOMPLETE
        WS_ERR_OPCODE
        WS_ERR_RSV
        WS_ERR_CONTROL_FRAGMENTED
        WS_ERR_CONTROL_TOO_LONG
        WS_ERR_MASK_MISSING
        WS_ERR_MASK_UNEXPECTED
        WS_ERR_LENGTH_NOT_MINIMAL
        WS_ERR_LENGTH_HIGH_BIT
        WS_ERR_TOO_BIG
        WS_ERR_CONTINUATION_UNEXPECTED
        WS_ERR_CONTINUATION_EXPECTED
        WS_ERR_CLOSE_LENGTH
        WS_ERR_CLOSE_CODE
        WS_ERR_CLOSE_REASON
        WS_ERR_UTF8
        WS_STATUS_COUNT

    enum:
        WS_OPCODE_CONTINUATION
        WS_OPCODE_TEXT
        WS_OPCODE_BINARY
        WS_OPCODE_CLOSE
        WS_OPCODE_PING
        WS_OPCODE_PONG

    enum:
        WS_RSV1
        WS_RSV2
        WS_RSV3
        WS_MAX_HEADER_SIZE
        WS_MAX_CONTROL_PAYLOAD

    ctypedef struct ws_frame_header:
        uint64_t payload_len        # bytes
        uint32_t key                # wire byte order
        uint8_t opcode
        uint8_t fin
        uint8_t rsv                 # WS_RSV* bits
        uint8_t has_mask
        uint8_t size                # bytes of the header itself

    int ws_decode_header(const uint8_t *data, size_t size, ws_frame_header *out) noexcept
    size_t ws_header_size(uint64_t payload_len, int has_mask) noexcept
    size_t ws_encode_header(
        uint8_t *dst, uint8_t opcode, int fin, uint8_t rsv, uint64_t payload_len, int has_mask, uint32_t key
    ) noexcept

cdef extern from "csrc/frame_rules.h" nogil:
    ctypedef struct ws_frame_rules:
        uint64_t max_payload_size   # bytes; UINT64_MAX: no limit
        uint8_t expects_mask
        uint8_t strict
        uint8_t allowed_rsv         # WS_RSV* bits
        uint8_t validate_utf8
        uint8_t message_opcode      # from here on: state, zero at the start
        uint8_t checks_text
        uint8_t is_inside_character
        uint32_t utf8_state

    bint ws_is_control(uint8_t opcode) noexcept
    int ws_check_header(const ws_frame_rules *rules, const ws_frame_header *header) noexcept
    bint ws_frame_wants_text_check(const ws_frame_rules *rules, const ws_frame_header *header) noexcept
    int ws_check_text(ws_frame_rules *rules, const uint8_t *payload, size_t size) noexcept
    int ws_end_frame(ws_frame_rules *rules, const ws_frame_header *header) noexcept
    bint ws_is_close_code(unsigned int code) noexcept
    int ws_check_close(const uint8_t *payload, size_t size) noexcept

cdef extern from "csrc/utf8.h" nogil:
    enum:
        WS_UTF8_ACCEPT
        WS_UTF8_REJECT

    uint32_t ws_utf8_feed(uint32_t state, const uint8_t *data, size_t size) noexcept
    bint ws_is_ascii(const uint8_t *data, size_t size) noexcept

cdef extern from "csrc/mask.h" nogil:
    ctypedef void (*ws_mask_fn)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) noexcept

    ctypedef struct ws_mask_impl:
        const char *name
        ws_mask_fn apply

    uint32_t ws_key_at(uint32_t key, size_t pos) noexcept
    const ws_mask_impl *ws_mask_select() noexcept
    const ws_mask_impl *ws_mask_available(size_t index) noexcept

cdef extern from "csrc/upgrade_request.h" nogil:
    ctypedef struct ws_span:
        size_t pos                  # 0: not there
        size_t size

    ctypedef struct ws_upgrade_request:
        size_t head_size            # bytes, with the empty line
        ws_span path
        ws_span key
        ws_span extensions
        ws_span subprotocols
        ws_span origin

    bint ws_is_field_name(const uint8_t *text, size_t size) noexcept
    bint ws_is_field_value(const uint8_t *text, size_t size) noexcept
    bint ws_read_upgrade_request(
        const uint8_t *data, size_t size, size_t max_fields, ws_upgrade_request *out
    ) noexcept

cdef extern from "csrc/platform.h" nogil:
    enum:
        WS_HAS_DIRECT_IO
        WS_EUNSUPPORTED
        WS_MAX_PARTS

    ctypedef struct ws_part "struct ws_part":
        const void *data
        size_t size                 # bytes

    int64_t ws_clock_ns() noexcept
    bint ws_is_same_moment(uint64_t *start) noexcept
    int64_t ws_send(int fd, const void *data, size_t size) noexcept
    int64_t ws_send2(int fd, const void *head, size_t head_size, const void *body, size_t body_size) noexcept
    int64_t ws_send_parts(int fd, const ws_part *parts, unsigned int count) noexcept
    int64_t ws_recv(int fd, void *dst, size_t size) noexcept
    int64_t ws_peek(int fd) noexcept
    bint ws_would_block(int64_t result) noexcept
    int ws_set_no_delay(int fd) noexcept

cdef const ws_mask_impl* MASK       # the best kernel of this CPU
cdef const ws_mask_impl* mask_impl(size_t index) noexcept
