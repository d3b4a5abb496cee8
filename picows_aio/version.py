"""The version of the distribution, under the names of `websockets.version`."""

from picows.version import __version__

__all__ = ["commit", "tag", "version"]

version = __version__
tag = __version__
commit = __version__
