"""One timer for many deadlines."""

import asyncio

import pytest

from picows.deadlines import Deadlines

SOON = 0.05  # seconds


async def test_they_expire_in_order_but_for_those_that_are_over():
    loop = asyncio.get_running_loop()
    expired: list[str] = []
    last = loop.create_future()

    def expire(item: str) -> None:
        expired.append(item)
        if item == "last":
            last.set_result(loop.time())

    deadlines = Deadlines(loop, SOON, expire)
    for item in ("first", "over", "second"):
        deadlines.add(item)
    deadlines.discard("over")
    deadlines.discard("never added")
    async with asyncio.timeout(5):
        begun = loop.time()
        deadlines.add("last")
        assert await last >= begun + SOON - 0.002
    assert expired == ["first", "second", "last"]


async def test_time_begins_anew_when_nothing_was_left():
    loop = asyncio.get_running_loop()
    expired: asyncio.Queue[int] = asyncio.Queue()
    deadlines = Deadlines(loop, SOON, expired.put_nowait)
    async with asyncio.timeout(5):
        for number in range(3):
            begun = loop.time()
            deadlines.add(number)
            assert await expired.get() == number
            assert loop.time() >= begun + SOON - 0.002
            deadlines.add(-1)
            deadlines.discard(-1)


async def test_what_one_raises_does_not_keep_the_others():
    loop = asyncio.get_running_loop()
    expired: list[int] = []
    reported: list[BaseException] = []
    done = loop.create_future()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def expire(item: int) -> None:
        expired.append(item)
        if item == 2:
            done.set_result(None)
        raise RuntimeError(str(item))

    deadlines = Deadlines(loop, SOON, expire)
    for item in range(3):
        deadlines.add(item)
    async with asyncio.timeout(5):
        await done
        await asyncio.sleep(0)
    assert expired == [0, 1, 2]
    assert [str(exc) for exc in reported] == ["0", "1", "2"]


@pytest.mark.parametrize("seconds", [float("inf"), 1e9])
async def test_a_time_without_an_end(seconds):
    deadlines = Deadlines(asyncio.get_running_loop(), seconds, pytest.fail)
    deadlines.add("item")
    await asyncio.sleep(0)
    deadlines.discard("item")
