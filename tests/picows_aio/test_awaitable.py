"""What recv(), send() and iteration return behaves as a coroutine does, however it is awaited."""

import asyncio
import collections.abc
import contextvars
import gc
import importlib
import inspect
import sys
import sysconfig
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest

from picows_aio import ConnectionClosedError, ConnectionClosedOK
from picows_aio.asyncio.connection import Connection
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.pairs import deadline, feed, open_both, open_pair, parked, turns
from tests.support import BINARY, TEXT, Frame, RawPeer, encode_frame

Ways = dict[str, Callable[[Any], Awaitable[Any]]]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Connection, RawPeer]]:
    async with open_pair("client") as opened:
        with deadline(10):
            yield opened


async def _timeout(operation: Any) -> Any:
    async with asyncio.timeout(5):
        return await operation


async def _task_group(operation: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(operation)
    return task.result()


async def _wait(operation: Any) -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(operation)])
    return done.pop().result()


async def _gather(operation: Any) -> Any:
    result, _ = await asyncio.gather(operation, asyncio.sleep(0))
    return result


async def _as_completed(operation: Any) -> Any:
    for next_result in asyncio.as_completed([operation]):
        return await next_result


async def _threadsafe(operation: Any) -> Any:
    loop = asyncio.get_running_loop()
    future = await loop.run_in_executor(None, asyncio.run_coroutine_threadsafe, operation, loop)
    return await asyncio.wrap_future(future)


async def _ordinary_coroutine(operation: Any) -> Any:
    async def wrapped() -> Any:
        return await operation

    return await asyncio.create_task(wrapped())


class _Awaitable:
    """An object of somebody else that awaits through `__await__`."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from self.operation.__await__())


WAYS: Ways = {
    "await": _timeout,
    "create_task": asyncio.create_task,
    "ensure_future": asyncio.ensure_future,
    "wait_for": lambda operation: asyncio.wait_for(operation, 5),
    "shield": asyncio.shield,
    "gather": _gather,
    "TaskGroup": _task_group,
    "wait": _wait,
    "as_completed": _as_completed,
    "run_coroutine_threadsafe": _threadsafe,
    "coroutine": _ordinary_coroutine,
    "yield from": _Awaitable,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
async def test_a_message_is_received_however_it_is_awaited(
    pair: tuple[Connection, RawPeer], way: str, debug: bool
) -> None:
    connection, peer = pair
    asyncio.get_running_loop().set_debug(debug)
    peer.write_frame(TEXT, "waits already")
    peer.write_frame(TEXT, "too")
    assert await connection.recv() == "waits already"
    assert await WAYS[way](connection.recv()) == "too"
    asyncio.get_running_loop().call_soon(peer.write_frame, TEXT, "comes later")
    assert await WAYS[way](connection.recv()) == "comes later"
    asyncio.get_running_loop().call_soon(peer.write_frame, TEXT, "for an iterator")
    assert await WAYS[way](anext(connection)) == "for an iterator"


@pytest.mark.parametrize("way", WAYS)
async def test_a_message_is_sent_however_it_is_awaited(pair: tuple[Connection, RawPeer], way: str) -> None:
    connection, peer = pair
    assert await WAYS[way](connection.send("whole")) is None
    assert await peer.read_frame() == Frame(TEXT, b"whole")
    assert await WAYS[way](connection.send(["in", "parts"])) is None
    assert await peer.read_frame() == Frame(TEXT, b"in", fin=False)


@pytest.mark.parametrize("method", ["recv", "send", "__anext__"])
async def test_what_is_returned_is_a_coroutine_and_no_future(pair: tuple[Connection, RawPeer], method: str) -> None:
    connection, _ = pair
    operation = getattr(connection, method)(*(["x"] if method == "send" else []))
    assert isinstance(operation, collections.abc.Coroutine)
    assert asyncio.iscoroutine(operation)
    assert inspect.isawaitable(operation)
    assert not asyncio.isfuture(operation)
    assert operation.__name__ == method
    assert operation.__qualname__ == f"Connection.{method}"
    assert repr(operation).startswith(f"<coroutine object Connection.{method} at 0x")
    assert (operation.cr_await, operation.cr_running, operation.cr_suspended) == (None, False, False)
    assert (operation.cr_frame, operation.cr_code, operation.cr_origin) == (None, None, None)
    operation.close()


async def test_what_a_parked_operation_yields_is_a_future(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    operation = connection.recv()
    waiter = operation.send(None)
    assert asyncio.isfuture(waiter)
    assert waiter.get_loop() is asyncio.get_running_loop()
    assert not waiter.done()
    with pytest.raises(asyncio.InvalidStateError):
        waiter.result()
    assert operation.cr_await is waiter
    assert operation.cr_suspended
    operation.close()
    assert not operation.cr_suspended


async def test_a_task_tells_what_it_waits_for(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    task = asyncio.create_task(connection.recv(), name="reader")
    assert "coro=<Connection.recv()" in repr(task)
    await parked(task)
    assert "wait_for=<Future pending" in repr(task)
    assert task.get_stack() == []
    peer.write_frame(TEXT, "x")
    await task
    assert "result='x'" in repr(task)


async def test_the_traceback_shows_who_awaited(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_close(1000)
    peer.half_close()
    with pytest.raises(ConnectionClosedOK) as raised:
        await asyncio.create_task(_receive_twice(connection))
    assert "_receive_twice" in [entry.name for entry in raised.traceback]


async def _receive_twice(connection: Connection) -> None:
    await connection.recv()
    await connection.recv()


async def test_nothing_happens_before_the_first_step(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    late_send, late_recv = connection.send("second"), connection.recv()
    await connection.send("first")
    await late_send
    assert [(await peer.read_frame()).payload for _ in range(2)] == [b"first", b"second"]
    peer.write_frame(TEXT, "1")
    peer.write_frame(TEXT, "2")
    assert await connection.recv() == "1"
    assert await late_recv == "2"


@pytest.mark.parametrize("method", ["recv", "send", "__anext__"])
async def test_an_operation_that_is_never_awaited_warns(pair: tuple[Connection, RawPeer], method: str) -> None:
    connection, _ = pair
    with pytest.warns(RuntimeWarning, match=f"^coroutine 'Connection.{method}' was never awaited$"):
        getattr(connection, method)(*(["x"] if method == "send" else []))


async def test_a_second_await_is_an_error(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    sending = connection.send("x")
    await sending
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await sending
    receiving = connection.recv()
    task = asyncio.create_task(receiving)
    await parked(task)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await receiving
    peer.write_frame(TEXT, "undisturbed")
    assert await task == "undisturbed"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        receiving.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        receiving.throw(KeyError)


async def test_the_first_step_takes_no_value(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    operation = connection.recv()
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        operation.send(1)
    operation.close()


THROWN = [(KeyError,), (KeyError("x"),), (KeyError, KeyError("x")), (KeyError, "x"), (KeyError, None, None)]


@pytest.mark.parametrize("thrown", THROWN)
@pytest.mark.parametrize("state", ["created", "parked"])
async def test_an_exception_thrown_in_ends_the_operation(
    pair: tuple[Connection, RawPeer], thrown: tuple[Any, ...], state: str
) -> None:
    connection, peer = pair
    operation = connection.recv()
    if state == "parked":
        operation.send(None)
    with pytest.raises(KeyError):
        operation.throw(*thrown)
    operation.close()
    peer.write_frame(TEXT, "for the next")
    assert await connection.recv() == "for the next"


@pytest.mark.parametrize("state", ["created", "parked"])
async def test_only_exceptions_can_be_thrown(pair: tuple[Connection, RawPeer], state: str) -> None:
    connection, peer = pair
    operation = connection.recv()
    if state == "parked":
        operation.send(None)
    with pytest.raises(TypeError, match="exceptions must be classes or instances deriving from BaseException, not str"):
        operation.throw("x")
    peer.write_frame(TEXT, "x")
    operation.close()
    assert await connection.recv() == "x"


@pytest.mark.parametrize("state", ["created", "parked", "done"])
async def test_a_closed_operation_took_nothing(pair: tuple[Connection, RawPeer], state: str) -> None:
    connection, peer = pair
    operation = connection.recv()
    if state != "created":
        operation.send(None)
    operation.close()
    if state == "done":
        operation.close()
    peer.write_frame(TEXT, "x")
    assert await connection.recv() == "x"


async def test_a_send_in_fragments_hands_on_what_is_thrown_and_closes(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    seen: list[str] = []

    class Source:
        def __aiter__(self) -> "Source":
            return self

        async def __anext__(self) -> str:
            try:
                return await asyncio.Event().wait() and "never"
            finally:
                seen.append("source ended")

    operation = connection.send(Source())
    operation.send(None)
    assert operation.cr_await is not None
    assert operation.cr_suspended
    with pytest.raises(KeyError):
        operation.throw(KeyError)
    assert seen == ["source ended"]
    other = connection.send(Source())
    other.send(None)
    other.close()
    assert seen == ["source ended"] * 2
    await connection.send("the connection is as before")


async def test_a_consumer_sees_its_own_context(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    async def consume() -> None:
        variable.set("the consumer's")
        async for message in connection:
            seen.append((message, variable.get()))
            variable.set(f"after {message}")

    task = asyncio.create_task(consume())
    await parked(task)
    variable.set("the test's")
    for text in ("1", "2"):
        peer.write_frame(TEXT, text)
    peer.write_close(1000)
    peer.half_close()
    await task
    assert seen == [("1", "the consumer's"), ("2", "after 1")]
    assert variable.get() == "the test's"


async def test_a_parked_task_runs_inside_the_read(pair: tuple[Connection, RawPeer]) -> None:
    """Not in a later turn of the loop: where no task runs, the wake-up is a call."""
    connection, _ = pair
    received: list[object] = []
    task = asyncio.create_task(_collect(connection, received))
    await parked(task)
    done = asyncio.Event()

    def read() -> None:
        feed(connection, encode_frame(TEXT, "a") + encode_frame(TEXT, "b"))
        received.append("end of the read")
        done.set()

    asyncio.get_running_loop().call_soon(read)
    await done.wait()
    assert received == ["a", "b", "end of the read"]
    await _cancel(task)


async def test_a_task_is_woken_later_while_another_one_runs(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    received: list[object] = []
    task = asyncio.create_task(_collect(connection, received))
    await parked(task)
    feed(connection, encode_frame(TEXT, "a"))
    assert received == []
    await turns(1)
    assert received == ["a"]
    await _cancel(task)


async def test_a_task_is_woken_later_while_its_context_is_in_use(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    received: list[object] = []
    context = contextvars.copy_context()
    task = asyncio.create_task(_collect(connection, received), context=context)
    await parked(task)
    done = asyncio.Event()

    def read() -> None:
        feed(connection, encode_frame(TEXT, "a"))
        received.append("end of the read")
        done.set()

    asyncio.get_running_loop().call_soon(read, context=context)
    await done.wait()
    await turns(1)
    assert received == ["end of the read", "a"]
    await _cancel(task)


async def test_a_cancelled_task_is_stepped_later(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    task = asyncio.create_task(connection.recv())
    await parked(task)
    task.cancel("why")
    assert not task.done()
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    peer.write_frame(TEXT, "still there")
    assert await connection.recv() == "still there"


async def test_an_operation_can_be_stepped_by_hand(pair: tuple[Connection, RawPeer]) -> None:
    """As event loops of others do: by callback, and without waiting for it."""
    connection, peer = pair
    operation = connection.recv()
    waiter = operation.send(None)
    assert operation.send(None) is waiter
    woken = asyncio.Event()
    seen: list[object] = []
    waiter.add_done_callback(seen.append)
    waiter.add_done_callback(lambda _: woken.set())
    waiter.add_done_callback(print)
    assert waiter.remove_done_callback(print) == 1
    peer.write_frame(TEXT, "x")
    await woken.wait()
    assert seen == [waiter]
    assert waiter.done()
    assert waiter.result() is None
    assert waiter.exception() is None
    assert not waiter.cancel()
    with pytest.raises(StopIteration) as stopped:
        operation.send(None)
    assert stopped.value.value == "x"


async def test_results_of_steps_by_hand_do_not_mix(pair: tuple[Connection, RawPeer]) -> None:
    """A StopIteration that somebody keeps is not raised again for the next result."""
    connection, _ = pair
    feed(connection, b"".join(encode_frame(TEXT, str(number)) for number in range(3)))
    stops = []
    for _ in range(3):
        with pytest.raises(StopIteration) as caught:
            next(connection.recv())
        stops.append(caught.value)
    assert [stop.value for stop in stops] == ["0", "1", "2"]
    assert all(stop.__context__ is None for stop in stops)


async def test_a_large_message_is_not_kept_by_who_received_it(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_frame(BINARY, bytes(33_000))  # larger than what is remembered to be used again
    message = await connection.recv()
    assert sys.getrefcount(message) == 2  # the variable's, and that of the call


async def test_a_waiter_can_be_awaited_by_others(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    operation = connection.recv()
    waiter = operation.send(None)
    waiter._asyncio_future_blocking = False  # as a task does with what is yielded to it

    async def other() -> str:
        await waiter
        return "woken"

    tasks = [asyncio.create_task(other()) for _ in range(2)]
    waiting = asyncio.create_task(asyncio.wait([waiter]))
    for task in tasks:
        await parked(task)
    peer.write_frame(TEXT, "x")
    assert await asyncio.gather(*tasks) == ["woken"] * 2
    assert await waiting == ({waiter}, set())
    assert await waiter is None
    operation.close()
    assert await connection.recv() == "x"


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="who holds it cannot be known there")
@pytest.mark.parametrize("way", ["recv", "stream"])
async def test_a_future_is_used_again_unless_others_hold_it(pair: tuple[Connection, RawPeer], way: str) -> None:
    """A task that runs at once has no use for its result, but whoever else holds the future may."""
    connection, peer = pair
    source = connection if way == "recv" else connection.stream()
    futures: list[Any] = []

    async def receive(is_held: bool) -> None:
        task = asyncio.create_task(source.recv())
        await parked(task)
        futures.append(task._fut_waiter if is_held else id(task._fut_waiter))  # type: ignore[attr-defined]
        peer.write_frame(TEXT, "x")
        assert await task == "x"

    for is_held in (False, False, True, False):
        await receive(is_held)
    first, second, held, last = futures
    assert first == second == id(held) != last
    assert held.done()
    if way == "stream":
        await source.aclose()


@pytest.mark.parametrize("end", ["returns", "cancelled", "closed"])
async def test_a_task_that_waited_is_not_kept(pair: tuple[Connection, RawPeer], end: str) -> None:
    connection, peer = pair
    received: list[object] = []

    async def consume() -> None:
        for _ in range(3):
            received.append(await connection.recv())

    task = asyncio.create_task(consume())
    for count in range(3 if end == "returns" else 2):
        await parked(task)
        peer.write_frame(TEXT, "x")
        while len(received) == count:
            await asyncio.sleep(0)
    if end == "cancelled":
        task.cancel()
    elif end == "closed":
        connection.transport.abort()
    await asyncio.wait([task])
    assert task.cancelled() or end != "cancelled"
    assert isinstance(task.exception(), ConnectionClosedError) if end == "closed" else True
    kept = weakref.ref(task)
    del task
    await turns()
    gc.collect()
    assert kept() is None


async def test_who_else_waits_for_a_future_that_serves_again_is_called(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    received: list[object] = []
    called: list[bool] = []
    task = asyncio.create_task(_collect(connection, received))
    for count in range(4):
        await parked(task)
        if count == 2:
            task._fut_waiter.add_done_callback(lambda future: called.append(future.done()))  # type: ignore[attr-defined]
        peer.write_frame(TEXT, str(count))
        while len(received) == count:
            await asyncio.sleep(0)
        await turns()
    assert received == ["0", "1", "2", "3"]
    assert called == [True]
    task.cancel()


async def test_tasks_that_take_turns_are_told_apart(pair: tuple[Connection, RawPeer]) -> None:
    """The one that waits is woken, whichever waited before."""
    connection, peer = pair
    received: list[tuple[str, object]] = []
    turn = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def consume(name: str, other: str) -> None:
        for _ in range(3):
            await turn[name].wait()
            turn[name].clear()
            for _ in range(2):
                received.append((name, await connection.recv()))
            turn[other].set()

    tasks = [asyncio.create_task(consume("a", "b")), asyncio.create_task(consume("b", "a"))]
    turn["a"].set()
    for count in range(12):
        await parked(tasks[count // 2 % 2])
        peer.write_frame(TEXT, str(count))
        while len(received) == count:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert received == [("ab"[count // 2 % 2], str(count)) for count in range(12)]


async def test_a_cancelled_waiter_says_so(pair: tuple[Connection, RawPeer]) -> None:
    connection, _ = pair
    operation = connection.recv()
    waiter = operation.send(None)
    assert waiter.cancel("because")
    assert waiter.cancelled()
    with pytest.raises(asyncio.CancelledError, match="because"):
        waiter.result()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    operation.close()


async def test_an_exception_of_the_consumer_is_its_own(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair

    async def consume() -> None:
        async for _ in connection:
            raise ZeroDivisionError

    task = asyncio.create_task(consume())
    await parked(task)
    peer.write_bytes(b"".join(encode_frame(TEXT, text) for text in "abc"))
    with pytest.raises(ZeroDivisionError):
        await task
    assert [await connection.recv(), await connection.recv()] == ["b", "c"]
    await connection.send("open")
    assert await peer.read_frame() == Frame(TEXT, b"open")


@pytest.mark.parametrize("loop_name", LOOP_FACTORIES)
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_the_loop(loop_name: str, exception: type[BaseException]) -> None:
    """Not every loop lets it out of a transport's callback."""

    async def consume(connection: Connection) -> None:
        async for message in connection:
            if message == "stop":
                raise exception

    async def interrupted() -> None:
        async with open_pair("client") as (connection, peer):
            task = asyncio.create_task(consume(connection))
            await parked(task)
            peer.write_frame(TEXT, "stop")
            peer.write_frame(TEXT, "kept")
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                assert await connection.recv() == "kept"
                with pytest.raises(exception):
                    task.result()
                ended.append(True)

    ended: list[bool] = []
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        main = runner.get_loop().create_task(interrupted())
        with pytest.raises(exception):
            runner.get_loop().run_until_complete(main)
        main.cancel()
        runner.get_loop().run_until_complete(main)
    assert ended == [True]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_an_echo_schedules_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's own streams schedule one callback a message: the task's wake-up."""
    async with asyncio.timeout(10), open_both(coalesce=False) as (client, server):
        echoing = asyncio.create_task(_echo(server))
        await client.send("warm up")
        assert await client.recv() == "warm up"
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon
        scheduled: list[object] = []

        def counting(callback: Any, *args: Any, **kwargs: Any) -> asyncio.Handle:
            scheduled.append(callback)
            return call_soon(callback, *args, **kwargs)

        monkeypatch.setattr(loop, "call_soon", counting)
        for number in range(100):
            await client.send(str(number))
            assert await client.recv() == str(number)
        monkeypatch.undo()
        assert scheduled == []
        await client.close()
        await echoing


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop 0.22 hands the factory what Python 3.13.0 does not take
async def test_eager_tasks() -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        sent = asyncio.create_task(connection.send("at once"))
        assert sent.done()
        assert await peer.read_frame() == Frame(TEXT, b"at once")
        receiving = asyncio.create_task(connection.recv())
        peer.write_frame(TEXT, "later")
        assert await receiving == "later"
        for text in "ab":
            peer.write_frame(TEXT, text)
        assert await connection.recv() == "a"
        async with asyncio.TaskGroup() as group:
            task = group.create_task(connection.recv())
        assert task.result() == "b"


async def _collect(connection: Connection, received: list[object]) -> None:
    async for message in connection:
        received.append(message)


async def _echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("merging", "MergeOperation"),
        ("reading", "BatchOperation"),
        ("reading", "FragmentOperation"),
        ("reading", "FrameOperation"),
        ("reading", "NextOperation"),
        ("reading", "RecvOperation"),
        ("reading", "ViewOperation"),
        ("sending", "SendOperation"),
        ("streaming", "StreamOperation"),
    ],
)
def test_an_operation_that_its_class_made_says_who_makes_them(module: str, name: str) -> None:
    operation = getattr(importlib.import_module(f"picows_aio.{module}"), name)()
    with pytest.raises(TypeError, match="made by"):
        operation.send(None)
