"""Shows a server that looks up a user before it accepts, and a client with the name and password in its URL."""

import asyncio
import base64
import hmac
from http import HTTPStatus

from picows import WSInvalidStatusError, WSListener, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server
from picows import WSUpgradeResponse as Response
from picows import WSUpgradeResponseWithListener as ResponseWithListener

PASSWORDS = {"alice": "correct horse"}


class UserListener(WSListener):
    def __init__(self, user: str) -> None:
        self._user = user

    def on_ws_connected(self, transport: WSTransport) -> None:
        print(f"The server accepted {self._user}.")


async def find_password(user: str) -> str | None:
    await asyncio.sleep(0)  # stands for a question to a database
    return PASSWORDS.get(user)


async def accept(request: WSUpgradeRequest) -> WSListener | ResponseWithListener:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        user, _, password = base64.b64decode(credentials).decode().partition(":")
        expected = await find_password(user)
        # compare_digest takes the same time however many characters are right.
        if expected is not None and hmac.compare_digest(password.encode(), expected.encode()):
            return UserListener(user)
    challenge = {"WWW-Authenticate": 'Basic realm="feed", charset="UTF-8"'}
    return ResponseWithListener(
        Response.create_error_response(HTTPStatus.UNAUTHORIZED, b"who are you?\n", challenge), None
    )


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for credentials in ("alice:correct%20horse@", "alice:guess@", ""):
            try:
                transport, _ = await ws_connect(WSListener, f"ws://{credentials}{address}/")
            except WSInvalidStatusError as error:
                print(f"The client was refused: {error}.")
            else:
                transport.send_close()
                await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
