"""Shows a strict echo client driven by a test server: it asks for the number of cases, runs each, and wants the report.

Usage: autobahn_client.py URL AGENT   (the URL of the Autobahn test suite's fuzzing server, a name for the report)
"""

import asyncio
import contextlib
import sys
from urllib.parse import quote

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

CONTROL_FRAMES = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class MessageListener(WSListener):
    """Joins the fragments of each message; sends it back or, when `echoes` is False, keeps the last one."""

    def __init__(self, echoes: bool) -> None:
        self._echoes = echoes
        self._parts: list[bytes] = []
        self._message_type = WSMsgType.TEXT
        self.last_message = b""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in CONTROL_FRAMES:
            return
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._message_type = frame.msg_type
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            self.last_message = b"".join(self._parts)
            self._parts.clear()
            if self._echoes:
                transport.send(self._message_type, self.last_message)


async def run(url: str, *, echoes: bool = True) -> bytes:
    """Connect, stay until the server closes, and return the last message."""
    listener = MessageListener(echoes)
    transport, _ = await ws_connect(lambda: listener, url, strict=True, validate_utf8=True, max_frame_size=2**24)
    await transport.wait_disconnected()
    return listener.last_message


async def main(url: str, agent: str) -> None:
    count = int(await run(f"{url}/getCaseCount", echoes=False))
    for case in range(1, count + 1):
        # Many cases break the protocol on purpose, and wait_disconnected() raises what was found.
        with contextlib.suppress(OSError, WSError):
            await run(f"{url}/runCase?case={case}&agent={quote(agent)}")
    await run(f"{url}/updateReports?agent={quote(agent)}", echoes=False)
    print(f"Ran {count} cases.")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
