"""`picows_aio`."""

from typing import Any

import job
from websockets_api import Library

import picows_aio
from picows_aio.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

KEYWORDS = {"ping_interval": None, "max_size": None, "max_queue": None}


def one_engine(task: job.Job) -> dict[str, Any]:
    """Compression by the engine that the job's mode names, for messages of every size."""
    factory = ServerPerMessageDeflateFactory if task.role == "echo" else ClientPerMessageDeflateFactory
    return {"compression": None, "extensions": [factory(engine=task.mode)]}


if __name__ == "__main__":
    Library(
        picows_aio.connect,
        picows_aio.serve,
        picows_aio.broadcast,
        picows_aio.ConnectionClosed,
        KEYWORDS,
        one_engine,
    ).main()
