"""A loop whose time a test can move: for asyncio's loop, since uvloop keeps its clock to itself."""

import asyncio


class SkippableClock:
    """Replaces the clock of the running loop by one that can be moved forward."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._real_time = loop.time
        self._offset = 0.0
        loop.time = self.time  # type: ignore[method-assign]

    def time(self) -> float:
        """Seconds; what the loop believes."""
        return self._real_time() + self._offset

    async def skip(self, seconds: float) -> None:
        """Let timers up to then fire. The deadlines of `asyncio.timeout` are timers too."""
        self._offset += seconds
        for _ in range(3):  # a due timer runs in the next turn, what it schedules in the one after
            await asyncio.sleep(0)
