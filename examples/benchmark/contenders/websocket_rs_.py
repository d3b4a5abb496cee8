"""`websocket-rs`: its asynchronous client."""

from websocket_rs.async_client import connect
from websockets_api import Library

if __name__ == "__main__":
    Library(connect).main()
