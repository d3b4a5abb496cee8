"""Extensions: what a program derives from to write its own (RFC 6455 section 9)."""

from picows_aio.extensions.base import ClientExtensionFactory, Extension, ServerExtensionFactory

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]
