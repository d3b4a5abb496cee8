"""The same names as :mod:`picows`, for code that imports them from here."""

from picows import *  # noqa: F403
from picows import __all__  # noqa: F401
