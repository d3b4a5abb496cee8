"""`picows.websockets`, a part of the PyPI picows."""

import picows.websockets
from websockets_api import Library

KEYWORDS = {"ping_interval": None, "max_size": None, "max_queue": None}

if __name__ == "__main__":
    Library(
        picows.websockets.connect,
        picows.websockets.serve,
        picows.websockets.broadcast,
        picows.websockets.ConnectionClosed,
        KEYWORDS,
    ).main()
