"""The PyPI package `aiohttp`; its client asks for compression. It has no way to send fragments."""

import conversation
from aiohttp import ClientSession, WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(max_msg_size=0)
    await connection.prepare(request)
    reason = ""
    while (message := await connection.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        if message.data == conversation.CLOSE_REQUEST:
            code, text = conversation.SERVER_CLOSE
            await connection.close(code=code, message=text.encode())
        elif message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
        else:
            await connection.send_bytes(message.data)
    if message.type is WSMsgType.CLOSE:
        reason = message.extra or ""
    conversation.tell(code=connection.close_code, reason=reason)
    return connection


async def server() -> None:
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=conversation.server_tls()).start()
    conversation.tell(port=runner.addresses[0][1])
    await conversation.standard_input_ends()
    await runner.cleanup()


async def client(url: str) -> None:
    tls = conversation.client_tls() or True
    async with ClientSession() as session, session.ws_connect(url, ssl=tls, max_msg_size=0, compress=15) as connection:
        echoed = 0
        for message in conversation.MESSAGES:
            if isinstance(message, str):
                await connection.send_str(message)
            else:
                await connection.send_bytes(message)
            echoed += (await connection.receive()).data == message
        await connection.ping(b"mark")
        await connection.send_str("".join(conversation.FRAGMENTS))
        fragmented = await connection.receive_str()
        code, reason = conversation.CLIENT_CLOSE
        extensions = ["permessage-deflate"] if connection.compress else []
        await connection.close(code=code, message=reason.encode())
        conversation.tell(
            echoed=echoed, fragmented=fragmented, extensions=extensions, code=connection.close_code, reason=reason
        )


conversation.main(server, client)
