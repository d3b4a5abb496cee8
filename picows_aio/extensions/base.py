"""What an extension is made of (RFC 6455 section 9): a factory for the handshake, an object for each connection."""

from __future__ import annotations

from collections.abc import Sequence

from picows_aio.frames import Frame
from picows_aio.typing import ExtensionName, ExtensionParameter

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]


class Extension:
    """An extension in use on one connection.

    Frames that are sent pass through `encode` of each extension in the order of the Sec-WebSocket-Extensions header,
    received ones through `decode` in the opposite order.

    Attributes:
        name: Name of the extension.
    """

    name: ExtensionName

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Turn a received frame into what the peer encoded.

        Args:
            frame: The frame; it may be changed and returned.
            max_size: Bytes that the payload may have afterwards; None: no limit.

        Raises:
            PayloadTooBig: It would have more; the connection is closed with code 1009.
            ProtocolError: The frame is not one that the extension can have made; code 1002.
        """
        raise NotImplementedError(f"{type(self).__name__} does not decode frames")

    def encode(self, frame: Frame) -> Frame:
        """Turn a frame into what goes over the network.

        Args:
            frame: The frame; it may be changed and returned.
        """
        raise NotImplementedError(f"{type(self).__name__} does not encode frames")


class ClientExtensionFactory:
    """Offers an extension to servers.

    Attributes:
        name: Name of the extension.
    """

    name: ExtensionName

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Parameters of the offer."""
        raise NotImplementedError(f"{type(self).__name__} makes no offer")

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        """The extension with the parameters that the server chose.

        Args:
            params: Parameters in the response.
            accepted_extensions: Extensions that come before it in the response.

        Raises:
            NegotiationError: The parameters do not answer the offer; the connection fails.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no answer")


class ServerExtensionFactory:
    """Accepts an extension that clients offer.

    Attributes:
        name: Name of the extension.
    """

    name: ExtensionName

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], Extension]:
        """Parameters of the response, and the extension with them.

        Args:
            params: Parameters of the offer.
            accepted_extensions: Extensions that were accepted before it.

        Raises:
            NegotiationError: To decline this offer; the next one is tried.
        """
        raise NotImplementedError(f"{type(self).__name__} accepts no offer")
