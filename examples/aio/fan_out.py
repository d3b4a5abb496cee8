"""Shows one feed with three consumers, each with a stream of its own: all of it, the newest of it, and the alarms."""

import asyncio

from picows_aio import ServerConnection, Stream, connect, serve

READINGS = 3000


async def feed(websocket: ServerConnection) -> None:
    await websocket.recv()  # the consumers are ready
    for number in range(READINGS):
        await websocket.send(f"{number} {'ALARM' if number % 500 == 499 else 'ok'}")
        if number % 100 == 0:
            await asyncio.sleep(0.005)


async def keep_journal(stream: Stream) -> None:
    numbers = [int(reading.split()[0]) async for reading in stream]
    print(f"The journal has every reading, in order: {numbers == list(range(READINGS))}.")


async def show(stream: Stream) -> None:
    shown = []
    async for reading in stream:
        shown.append(reading)
        await asyncio.sleep(0.02)  # a person looks at it
    print(f"The last reading on the display: {shown[-1]}.")


async def raise_alarms(stream: Stream) -> None:
    alarms = [reading.split()[0] async for reading in stream]
    print(f"Alarms: {', '.join(alarms)}.")


async def main() -> None:
    async with serve(feed, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(url) as websocket:
            journal = websocket.stream(name="journal")
            display = websocket.stream(name="display", overflow="latest")
            alarms = websocket.stream(name="alarms", overflow="drop_oldest", filter=lambda text: text.endswith("ALARM"))
            async with journal, display, alarms, asyncio.TaskGroup() as group:
                group.create_task(keep_journal(journal))
                group.create_task(raise_alarms(alarms))
                group.create_task(show(display))
                await websocket.send("go")
    for stream in (journal, display, alarms):
        print(f"{stream.name}: {stream.delivered} taken, {stream.dropped} dropped, {stream.filtered} filtered.")


if __name__ == "__main__":
    asyncio.run(main())
