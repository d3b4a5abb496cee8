"""Faults by the thousand leave nothing behind, and a server out of descriptors waits quietly and serves again."""

import socket
import struct
import time
from collections.abc import Callable

import pytest

from tests.support import BINARY, PING, encode_frame, encode_head, new_key, upgrade_fields
from tests.support.subject import Subject, descriptors_for, needs_proc, read_exactly

pytestmark = [needs_proc, pytest.mark.parametrize("loop", ["asyncio", "uvloop"])]

MIB = 1 << 20
KEY = b"\x21\x43\x65\x87"
PING_FRAME = encode_frame(PING, b"alive", key=KEY)
PONG_SIZE = 7


def reset(sock: socket.socket) -> None:
    """Close with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def before_the_request(subject: Subject) -> socket.socket:
    return subject.open_tcp()


def inside_the_request(subject: Subject) -> socket.socket:
    sock = subject.open_tcp()
    sock.sendall(encode_head("GET / HTTP/1.1", [("Host", "localhost")])[:-2])
    return sock


def before_the_response(subject: Subject) -> socket.socket:
    sock = subject.open_tcp()
    sock.sendall(encode_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())]))
    return sock


def after_the_handshake(subject: Subject) -> socket.socket:
    return subject.open_websocket()


def inside_a_frame(subject: Subject) -> socket.socket:
    sock = subject.open_websocket()
    sock.sendall(encode_frame(BINARY, bytes(70_000), key=KEY, announced_size=5 * MIB))
    return sock


def inside_an_echo(subject: Subject) -> socket.socket:
    """The server has more to send than the peer takes."""
    sock = subject.open_websocket()
    sock.sendall(ECHOED)
    return sock


ECHOED = encode_frame(BINARY, bytes(MIB), key=KEY) * 4
STAGES = [
    (before_the_request, 1000),
    (inside_the_request, 1000),
    (before_the_response, 1000),
    (after_the_handshake, 1000),
    (inside_a_frame, 500),
    (inside_an_echo, 100),
]


@pytest.mark.parametrize(("open_until", "count"), STAGES, ids=lambda value: getattr(value, "__name__", None))
def test_resets_leave_nothing_behind(loop: str, open_until: Callable[[Subject], socket.socket], count: int):
    def reset_many(times: int) -> None:
        for _ in range(times):
            reset(open_until(subject))
        subject.wait_until("connections", 0)
        with subject.open_websocket() as sock:  # behind them in the server's queue, so they have all been seen
            sock.sendall(PING_FRAME)
            read_exactly(sock, PONG_SIZE)
        subject.wait_until("connections", 0)
        subject.ask("collect")

    with Subject(loop=loop, take="echo") as subject:
        reset_many(count // 5)
        tasks, descriptors, resident = subject.ask("tasks"), subject.descriptors(), subject.resident_size()
        objects = subject.ask("objects")
        reset_many(count)
        assert subject.ask("tasks") == tasks
        assert subject.descriptors() == descriptors
        assert abs(subject.ask("objects") - objects) < 50
        assert subject.resident_size() - resident < 2 * MIB  # the heap breathes with how many there are at once
        # A callback that sends to a peer that is gone is told so once for each connection.
        assert [line for line in subject.log_lines() if "was not sent: the connection is closed" not in line] == []


def test_a_server_without_descriptors_waits_quietly_and_serves_again(loop: str):
    limit, clients, seconds = 60, 150, 2.0
    with Subject(loop=loop, take="echo", descriptor_limit=limit) as subject, descriptors_for(clients):
        served = subject.open_websocket()
        waiting = [subject.open_tcp() for _ in range(clients)]
        try:
            subject.ask("tasks")
            cpu, began = subject.cpu_seconds(), time.monotonic()
            while time.monotonic() < began + seconds:  # what happens in a stretch of time is the subject here
                served.sendall(PING_FRAME)
                read_exactly(served, PONG_SIZE)
                time.sleep(0.05)
            assert subject.cpu_seconds() - cpu < 0.25 * seconds
            complaints = [line for line in subject.log_lines() if "out of system resource" in line]
            assert len(complaints) <= 2 * seconds, complaints[:10]
        finally:
            for sock in waiting:
                sock.close()
        deadline = time.monotonic() + 10
        while subject.descriptors() > limit // 2:
            assert time.monotonic() < deadline, "the server does not close what its clients left"
        with served, subject.open_websocket() as sock:
            sock.sendall(PING_FRAME)
            read_exactly(sock, PONG_SIZE)
        subject.wait_until("connections", 0)
