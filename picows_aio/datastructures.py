"""HTTP headers: names without case, any number of values for one name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Protocol, cast

from multidict import CIMultiDict

from picows_aio.exceptions import InvalidHeaderValue

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]

# RFC 9110 section 5.1 and 5.5.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class MultipleValuesError(LookupError):
    """A header that is asked for one value has several."""

    def __str__(self) -> str:
        # Like KeyError, which says what was looked up by its repr.
        return repr(self.args[0]) if len(self.args) == 1 else super().__str__()


class SupportsKeysAndGetItem(Protocol):
    """What `dict.update` accepts besides mappings."""

    def keys(self) -> Iterable[str]:
        """The names."""

    def __getitem__(self, key: str, /) -> str: ...


class Headers(MutableMapping[str, str]):
    r"""Headers of a request or a response, in order.

    Names compare without case and iterate in lower case, each once. A header can have several values:

    - ``headers[name]`` is its one value; KeyError if there is none, MultipleValuesError if there are more.
    - ``headers[name] = value`` adds a value.
    - ``del headers[name]`` removes all its values.
    - `get_all` and `raw_items` give all values.

    ``str(headers)`` is the text that HTTP sends. Values are read from the network as ISO-8859-1, which any bytes
    survive; ``value.encode("latin-1").decode()`` gives text that was sent as UTF-8.

    Args:
        *args: Headers, a mapping or an iterable of (name, value) to begin with.
        **kwargs: More headers.

    Raises:
        InvalidHeaderValue: A value has a character that HTTP does not allow in it, such as a line end.
        ValueError: A name is not a token (RFC 9110 section 5.1).
        TypeError: A name or a value is neither a str nor, for values, a number.
    """

    __slots__ = ("_fields",)

    def __init__(self, *args: HeadersLike, **kwargs: str) -> None:
        self._fields: CIMultiDict[str] = CIMultiDict()
        self.update(*args, **kwargs)

    @classmethod
    def wrap(cls, fields: CIMultiDict[str]) -> Headers:
        """Give headers that need no checking this interface, without copying them.

        Args:
            fields: Headers that the core has read or is going to send; changes are seen on both sides.
        """
        headers = cls.__new__(cls)
        headers._fields = fields
        return headers

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self.raw_items()) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.raw_items())!r})"

    def copy(self) -> Headers:
        """A copy; changing one leaves the other alone."""
        return self.wrap(self._fields.copy())

    __copy__ = copy

    def serialize(self) -> bytes:
        """The head's lines as HTTP sends them, with the empty line at the end."""
        return str(self).encode("latin-1")

    def __contains__(self, key: object) -> bool:
        return key in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(map(str.lower, self._fields)))

    def __len__(self) -> int:
        return len(set(map(str.lower, self._fields)))

    def __getitem__(self, key: str) -> str:
        values = self._fields.getall(key)
        if len(values) > 1:
            raise MultipleValuesError(key)
        return values[0]

    def __setitem__(self, key: str, value: str) -> None:
        if not isinstance(key, str):
            raise TypeError(f"name of a header must be a str, not {type(key).__name__}")
        if _NAME.fullmatch(key) is None:
            raise ValueError(f"{key!r} is not a header name")
        if isinstance(value, int | float):
            value = str(value)
        if not isinstance(value, str):
            raise TypeError(f"value of header {key} must be a str, not {type(value).__name__}")
        if _VALUE.fullmatch(value) is None:
            raise InvalidHeaderValue(key, value)
        self._fields.add(key, value)

    def __delitem__(self, key: str) -> None:
        del self._fields[key]

    def __eq__(self, other: object) -> bool:
        """Whether both have the same values, in the same order, under the same names, in any order of names."""
        if not isinstance(other, Headers):
            return NotImplemented
        return {name: self.get_all(name) for name in self} == {name: other.get_all(name) for name in other}

    __hash__ = None  # type: ignore[assignment]

    def clear(self) -> None:
        """Remove all headers."""
        self._fields.clear()

    def update(self, *args: HeadersLike, **kwargs: str) -> None:
        """Add headers, as ``headers[name] = value`` does.

        Args:
            *args: Headers, a mapping or an iterable of (name, value).
            **kwargs: More headers.
        """
        if len(args) > 1:
            raise TypeError(f"expected one mapping or iterable of headers, not {len(args)}")
        for headers in (*args, kwargs):
            for name, value in _pairs(headers):
                self[name] = value

    def get_all(self, key: str) -> list[str]:
        """All values of a header, in order; empty if it is missing.

        Args:
            key: Name of the header.
        """
        return self._fields.getall(key, [])

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Every name and value, as they were given."""
        return iter(self._fields.items())

    def set_insecure(self, key: str, value: str) -> None:
        """Add a header without checking name and value.

        Args:
            key: Name of the header.
            value: Value of the header.
        """
        self._fields.add(key, value)


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | SupportsKeysAndGetItem
"""Types that Headers can be made from."""


def _pairs(headers: HeadersLike) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Headers):
        return headers.raw_items()
    if isinstance(headers, Mapping):
        return headers.items()
    if hasattr(headers, "keys"):
        mapping = cast(SupportsKeysAndGetItem, headers)
        return [(name, mapping[name]) for name in mapping.keys()]  # noqa: SIM118 - all that it has
    return headers
