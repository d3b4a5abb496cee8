"""Shows two ways to let only known clients in: HTTP Basic with `basic_auth`, and tokens that a function checks."""

import asyncio
import hmac
import http

from picows_aio import InvalidStatus, Request, Response, ServerConnection, basic_auth, connect, serve

TOKENS = {"3f7a": "carol"}


async def greet(websocket: ServerConnection) -> None:
    await websocket.send(f"hello {websocket.username}")


async def check_token(connection: ServerConnection, request: Request) -> Response | None:
    """Coroutine functions are welcome: this could ask a database."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = next((name for known, name in TOKENS.items() if hmac.compare_digest(known.encode(), token.encode())), None)
    if user is None:
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "unknown token\n")
    connection.username = user
    return None


async def report(url: str, headers: dict[str, str] | None = None) -> None:
    try:
        async with connect(url, additional_headers=headers) as websocket:
            print(f"Accepted: {await websocket.recv()}.")
    except InvalidStatus as refusal:
        print(f"Refused: {refusal.response.status_code}, {refusal.response.body.decode().strip()}.")


async def main() -> None:
    accounts = [("alice", "secret"), ("bob", "hidden")]
    async with serve(greet, "127.0.0.1", 0, process_request=basic_auth("news", accounts)) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await report(f"ws://alice:secret@{address}")
        await report(f"ws://alice:hidden@{address}")
        await report(f"ws://{address}")
    async with serve(greet, "127.0.0.1", 0, process_request=check_token) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await report(url, {"Authorization": "Bearer 3f7a"})
        await report(url, {"Authorization": "Bearer 0000"})


if __name__ == "__main__":
    asyncio.run(main())
