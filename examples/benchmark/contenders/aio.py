"""`picows_aio`."""

from websockets_api import Library

import picows_aio

KEYWORDS = {"ping_interval": None, "max_size": None, "max_queue": None}

if __name__ == "__main__":
    Library(picows_aio.connect, picows_aio.serve, picows_aio.broadcast, picows_aio.ConnectionClosed, KEYWORDS).main()
