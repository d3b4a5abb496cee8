"""The limits that the environment sets are those that clients and servers keep."""

import json
import os
import subprocess
import sys

PROGRAM = """
import asyncio, json
from picows_aio import Headers, Response, connect, serve

def process_request(connection, request):
    if request.path.startswith("/loop"):
        return Response(302, "X", Headers([("Location", request.path + "x")]))
    if request.path == "/big":
        return connection.respond(500, "x" * 50)

async def wait(connection):
    await connection.wait_closed()

async def outcome(uri, **options):
    try:
        async with connect(uri, proxy=None, **options) as connection:
            return connection.request.headers["User-Agent"], connection.response.headers["Server"]
    except Exception as exc:
        response = getattr(exc, "response", None)
        return str(exc), len(response.body) if response is not None else 0

async def main():
    async with serve(wait, "127.0.0.1", 0, process_request=process_request) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        print(json.dumps([
            await outcome(uri),
            await outcome(uri + "/loop"),
            (await outcome(uri + "/big"))[1],
            (await outcome(uri + "/" + "x" * 300))[0],
            (await outcome(uri, additional_headers=[("X", "1")] * 30))[0],
        ]))

asyncio.run(main())
"""


def outcomes(**variables):
    environment = os.environ | {f"WEBSOCKETS_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_limits_and_names():
    names, redirects, body_size, line, headers = outcomes(
        MAX_REDIRECTS="3",
        MAX_LINE_LENGTH="200",
        MAX_NUM_HEADERS="20",
        MAX_BODY_SIZE="10",
        USER_AGENT="client/1",
        SERVER="server/2",
    )
    assert names == ["client/1", "server/2"]
    assert redirects == ["more than 3 redirects", 0]
    assert body_size == 10
    assert line == "server rejected WebSocket connection: HTTP 414"
    assert headers == "server rejected WebSocket connection: HTTP 431"


def test_the_defaults_let_all_of_that_pass():
    names, redirects, body_size, line, headers = outcomes()
    assert [name.partition(" ")[2].partition("/")[0] for name in names] == ["picows_aio", "picows_aio"]
    assert redirects == ["more than 10 redirects", 0]
    assert body_size == 50
    assert line == headers == names[0]
