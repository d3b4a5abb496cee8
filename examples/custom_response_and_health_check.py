"""Shows one port that serves WebSocket clients, a plain HTTP health check, extra response headers and refusals."""

import asyncio
from http import HTTPStatus

import picows
from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener


async def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener | None:
    if request.path == b"/health":
        response = WSUpgradeResponse.create_ok_response(b"healthy\n", {"Content-Type": "text/plain"})
        return WSUpgradeResponseWithListener(response, None)
    if request.path == b"/feed":
        if not await is_known(request.headers.get("X-Token", "")):
            refusal = WSUpgradeResponse.create_error_response(HTTPStatus.FORBIDDEN, b"unknown token\n")
            return WSUpgradeResponseWithListener(refusal, None)
        response = WSUpgradeResponse.create_101_response({"X-Node": "node-7"})
        return WSUpgradeResponseWithListener(response, picows.WSListener())
    return None  # 404


async def is_known(token: str) -> bool:
    await asyncio.sleep(0)  # stands for a look-up in a database
    return token == "secret"


async def get_health(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return f"{answer.splitlines()[0]!r} with the body {answer.splitlines()[-1]!r}"


async def try_connect(url: str, headers: dict[str, str]) -> str:
    try:
        transport, _ = await picows.ws_connect(picows.WSListener, url, extra_headers=headers)
    except picows.WSInvalidStatusError as error:
        return f"refused: {error}, {error.raw_body!r}"
    transport.send_close(picows.WSCloseCode.OK)
    await transport.wait_disconnected()
    return f"accepted by {transport.response.headers['X-Node']}"


async def main() -> None:
    server = await picows.ws_create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30), server:
        print(f"A health check answers {await get_health(port)}.")
        url = f"ws://127.0.0.1:{port}"
        print(f"A client with the right token is {await try_connect(f'{url}/feed', {'X-Token': 'secret'})}.")
        print(f"A client without a token is {await try_connect(f'{url}/feed', {})}.")
        print(f"A client at another path is {await try_connect(url, {})}.")


if __name__ == "__main__":
    asyncio.run(main())
