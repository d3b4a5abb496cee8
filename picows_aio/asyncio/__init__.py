"""The import paths of `websockets.asyncio`; `picows_aio` itself has all their names."""
