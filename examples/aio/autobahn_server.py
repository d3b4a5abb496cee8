"""Shows an echo server in three lines of handler: the server under test of the Autobahn test suite.

Usage: autobahn_server.py PORT   (0: a free port, printed at the start; ends with Ctrl-C)
"""

import asyncio
import sys

from picows_aio import ServerConnection, serve


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, max_size=2**25, ping_interval=None) as server:
        print(f"Listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        print("Stopped.")
