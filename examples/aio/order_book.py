"""Shows `overflow="latest"`: a slow consumer of a firehose always takes the newest quote of each symbol."""

import asyncio

from picows_aio import ServerConnection, connect, serve

SYMBOLS = ["ADA", "BTC", "ETH", "SOL", "XRP"]
QUOTES = 20_000


async def firehose(websocket: ServerConnection) -> None:
    for number in range(QUOTES):
        await websocket.send(f"{SYMBOLS[number % len(SYMBOLS)]} {number}")
        if number % 500 == 0:
            await asyncio.sleep(0.002)


class OrderBook:
    """The newest quote of each symbol, as it arrives and as the consumer sees it."""

    def __init__(self) -> None:
        self.arrived: dict[str, str] = {}
        self.seen: dict[str, str] = {}
        self.stale = 0

    def symbol_of(self, quote: str) -> str:
        """The key of the stream: called for each quote when it arrives."""
        symbol = quote.partition(" ")[0]
        self.arrived[symbol] = quote
        return symbol

    def take(self, quote: str) -> None:
        symbol = quote.partition(" ")[0]
        self.seen[symbol] = quote
        self.stale += quote != self.arrived[symbol]


async def main() -> None:
    book = OrderBook()
    async with serve(firehose, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with (
            connect(url) as websocket,
            websocket.stream(overflow="latest", key=book.symbol_of, replay=True) as stream,
        ):
            async for quote in stream:
                book.take(quote)
                await asyncio.sleep(0.001)  # far too slow to see every quote
    print(f"Of {stream.received} quotes {stream.delivered} were taken and {stream.dropped} replaced by newer ones.")
    print(f"At most {stream.high_water} quotes waited: one of each symbol.")
    print(f"Quotes that were not the newest of their symbol when they were taken: {book.stale}.")
    print(f"The last quote of every symbol was seen: {book.seen == book.arrived and len(book.seen) == len(SYMBOLS)}.")


if __name__ == "__main__":
    asyncio.run(main())
