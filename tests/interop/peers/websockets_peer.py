"""The PyPI package `websockets`, with its defaults: it offers and accepts permessage-deflate."""

import asyncio

import conversation
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            if message == conversation.CLOSE_REQUEST:
                await connection.close(*conversation.SERVER_CLOSE)
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass
    conversation.tell(code=connection.close_code, reason=connection.close_reason)


async def server() -> None:
    async with serve(echo, "127.0.0.1", 0, ssl=conversation.server_tls(), max_size=None) as running:
        conversation.tell(port=running.sockets[0].getsockname()[1])
        await conversation.standard_input_ends()


async def client(url: str) -> None:
    async with connect(url, ssl=conversation.client_tls(), max_size=None) as connection:
        echoed = 0
        for message in conversation.MESSAGES:
            await connection.send(message)
            echoed += await connection.recv() == message
        await connection.send(conversation.FRAGMENTS)
        fragmented = await connection.recv()
        async with asyncio.timeout(5):
            await (await connection.ping(b"mark"))
        extensions = [extension.name for extension in connection.protocol.extensions]
        await connection.close(*conversation.CLIENT_CLOSE)
    conversation.tell(
        echoed=echoed,
        fragmented=fragmented,
        extensions=extensions,
        code=connection.close_code,
        reason=connection.close_reason,
    )


conversation.main(server, client)
