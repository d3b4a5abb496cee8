"""Messages out of frames."""

from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows_aio.messages cimport FragmentedMessage, MessageLimits


cdef class MessageAssembler:
    cdef:
        MessageLimits _limits
        readonly FragmentedMessage current   # the message of which not all frames came, or None
        size_t completed_size                # bytes of the message that `add` returned last
        object _deflate                      # codec of permessage-deflate, or None
        list _extensions                     # others, or None
        object _text_decoder                 # checks compressed text across fragments
        bint _is_compressed                  # the message under way

    cdef object add(self, WSFrame frame)
    cdef object _add_part(self, bint is_text, bytes payload, bint is_last)


cdef inline bint is_whole_message(WSFrame frame) noexcept:
    """Whether the frame is a message by itself that no extension has touched."""
    return frame.fin and frame.msg_type != WSMsgType.CONTINUATION and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
