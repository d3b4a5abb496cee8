"""Shows a client that connects through an HTTP proxy with a name and a password; the proxy is part of the program."""

import asyncio
import base64

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class ServerListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "hello through the tunnel")
        transport.send_close()


class ClientListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        print("The tunnel is open.")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"The client received {frame.get_payload_as_utf8_text()!r}.")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do what a proxy does for CONNECT (RFC 9110 section 9.3.6), without the checks of a real one."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    host, port = head.split()[1].split(":")
    credentials = head.partition("Proxy-Authorization: Basic ")[2].split()[0]
    print(f"The proxy opens a tunnel to {host} for {base64.b64decode(credentials).decode()!r}.")
    upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))


async def main() -> None:
    server = await ws_create_server(lambda request: ServerListener(), "127.0.0.1", 0)
    proxy = await asyncio.start_server(serve_tunnel, "127.0.0.1", 0)
    async with asyncio.timeout(30), server, proxy:
        transport, _ = await ws_connect(
            ClientListener,
            f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
            proxy=f"http://alice:secret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}",
        )
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
