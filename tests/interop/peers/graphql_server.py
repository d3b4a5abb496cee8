"""A server of the protocol graphql-transport-ws with canned answers, by the PyPI package `websockets`."""

import asyncio
import json

import conversation
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

ANSWERS = {"hello": [{"hello": "world"}], "tick": [{"tick": number} for number in range(200)]}


async def answer(connection: ServerConnection) -> None:
    async for text in connection:
        message = json.loads(text)
        if message["type"] == "connection_init":
            await connection.send(json.dumps({"type": "connection_ack"}))
        elif message["type"] == "subscribe":
            query = message["payload"]["query"]
            identity = {"id": message["id"]}
            for data in next(answers for word, answers in ANSWERS.items() if word in query):
                await connection.send(json.dumps({"type": "next", "payload": {"data": data}, **identity}))
            await connection.send(json.dumps({"type": "complete", **identity}))
    conversation.tell(code=connection.close_code, subprotocol=connection.subprotocol)


async def main() -> None:
    async with serve(answer, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")]) as running:
        conversation.tell(port=running.sockets[0].getsockname()[1])
        await conversation.standard_input_ends()


asyncio.run(main())
