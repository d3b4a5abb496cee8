"""The same names as `picows`, for `from picows.picows cimport ...`."""

from picows.closing cimport WSCloseHandshake, WSCloseInfo
from picows.enums cimport NoResult, WSAutoPingStrategy, WSCloseCode, WSMsgType
from picows.frame cimport WSFrame
from picows.listener cimport WSListener
from picows.transport cimport WSTransport
