"""Shows how to measure the round-trip time to an exchange such as OKX, and to reconnect until it is below a threshold.

Usage: okx_roundtrip_time.py [--threshold MILLISECONDS] [URL]
The URL is for example wss://ws.okx.com:8443/ws/v5/public; default: an embedded server, slow on its first connection.
"""

import argparse
import asyncio
import statistics

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

ROUNDS = 10
ATTEMPTS = 5
PONG_DELAYS = iter([0.06])  # seconds, one for each connection to the embedded server; then a millisecond


class SlowPongListener(WSListener):
    """Answers each ping after a delay, as a distant server does."""

    def __init__(self) -> None:
        self._delay = next(PONG_DELAYS, 0.001)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            asyncio.get_running_loop().call_later(self._delay, transport.send_pong, frame.get_payload_as_bytes())


async def connect_nearby(url: str, threshold: float) -> WSTransport | None:
    for attempt in range(1, ATTEMPTS + 1):
        transport, _ = await ws_connect(WSListener, url)
        times = await transport.measure_roundtrip_time(ROUNDS)
        mean = statistics.mean(times)
        print(f"Attempt {attempt}: {ROUNDS} pings, mean {mean * 1e3:.2f} ms, worst {max(times) * 1e3:.2f} ms.")
        if mean <= threshold:
            return transport
        # A name may stand for many machines, so that the next connection can be a shorter way.
        transport.send_close(WSCloseCode.OK)
        await transport.wait_disconnected()
    return None


async def main(url: str | None, threshold: float) -> None:
    server = await ws_create_server(lambda request: SlowPongListener(), "127.0.0.1", 0, enable_auto_pong=False)
    async with asyncio.timeout(60), server:
        transport = await connect_nearby(url or f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", threshold)
        if transport is None:
            raise SystemExit(f"No connection was faster than {threshold * 1e3:.0f} ms in {ATTEMPTS} attempts.")
        print(f"Connected within the threshold of {threshold * 1e3:.0f} ms.")
        transport.send_close(WSCloseCode.OK)
        await transport.wait_disconnected()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("--threshold", type=float, default=30.0, help="milliseconds")
    options = parser.parse_args()
    asyncio.run(main(options.url, options.threshold / 1e3))
