# Shows a client written in Cython: its callbacks are C calls, and it measures echo round trips.

from time import perf_counter

from picows cimport WSFrame, WSListener, WSMsgType, WSTransport
from picows import ws_connect


cdef class EchoClient(WSListener):
    cdef:
        WSTransport _transport
        bytes _message
        int _rounds_left
        readonly int echoes      # of the right size
        readonly double seconds  # for all rounds
        double _started

    def __init__(self, bytes message, int rounds):
        self._message = message
        self._rounds_left = rounds

    cpdef on_ws_connected(self, WSTransport transport):
        self._transport = transport
        self._started = perf_counter()
        self._send()

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if frame.msg_type != WSMsgType.BINARY:
            return
        self.echoes += frame.payload_size == len(self._message)
        if self._rounds_left > 0:
            self._send()
        else:
            self.seconds = perf_counter() - self._started
            transport.send_close()

    cdef _send(self):
        self._rounds_left -= 1
        self._transport.send(WSMsgType.BINARY, self._message)


async def talk(str url, bytes message, int rounds):
    cdef EchoClient client = EchoClient(message, rounds)
    transport, _ = await ws_connect(lambda: client, url)
    await transport.wait_disconnected()
    return client.echoes, client.seconds
