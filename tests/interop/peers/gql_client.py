"""The PyPI package `gql`, whose transport imports `websockets`, with picows_aio in that package's place."""

import asyncio
import sys

import conversation

from picows_aio import compat

compat.install()

from gql import Client, gql  # noqa: E402 - after the installation, which is the subject
from gql.transport.websockets import WebsocketsTransport  # noqa: E402


async def main(url: str) -> None:
    transport = WebsocketsTransport(url=url)
    async with Client(transport=transport) as session:
        hello = await session.execute(gql("query { hello }"))
        ticks = [result["tick"] async for result in session.subscribe(gql("subscription { tick }"))]
        connection = type(transport.adapter.websocket).__module__
    conversation.tell(hello=hello, ticks=ticks, connection=connection)
    await conversation.standard_input_ends()


asyncio.run(main(sys.argv[1]))
