"""Shows binary frames that are parsed where they lie: a header with `struct`, an array with numpy or a memoryview."""

import array
import asyncio
import struct
from typing import Any

from picows_aio import ServerConnection, connect, serve

try:
    import numpy
except ImportError:
    numpy = None

HEADER = struct.Struct("=IHH")  # sequence number, channel, count of samples
FRAMES = 1000


async def sample(websocket: ServerConnection) -> None:
    for number in range(FRAMES):
        samples = array.array("d", range(number, number + 50))
        await websocket.send(HEADER.pack(number, number % 4, len(samples)) + samples.tobytes())


def samples_of(view: memoryview) -> Any:
    """The numbers behind the header; nothing is copied."""
    if numpy is not None:
        return numpy.frombuffer(view, dtype=float, offset=HEADER.size)
    return view[HEADER.size :].cast("d")


async def main() -> None:
    total = 0.0
    kept = []
    async with serve(sample, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(url, compression=None) as websocket:  # a compressed frame cannot be read where it lies
            async for frame in websocket.frames():
                view = memoryview(frame)
                number, channel, count = HEADER.unpack_from(view)
                samples = samples_of(view)
                assert len(samples) == count
                total += float(sum(samples))
                if number % 100 == 0:
                    kept.append((channel, samples))  # it stays valid and unchanged for as long as it is held
    print(f"The sum of {FRAMES * 50} samples is {total:.0f}.")
    print(f"Kept {len(kept)} arrays of channel {kept[0][0]}; they begin with {[int(part[0]) for _, part in kept]}.")


if __name__ == "__main__":
    asyncio.run(main())
