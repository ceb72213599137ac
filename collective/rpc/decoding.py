"""Protobuf messages from outside: malformed bytes become one error.

betterproto2 raises whatever its internals meet (KeyError, struct.error, ...) for bytes that are no
message; found by Hypothesis.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeVar

from betterproto2 import Message
from grpclib.encoding.proto import ProtoCodec

from collective.core.errors import RejectedError

M = TypeVar("M", bound=Message)

_MALFORMED: Final = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
    EOFError,
    RecursionError,
    struct.error,
)


def parse_message(message_class: type[M], raw: bytes) -> M:
    """Return the message in ``raw``, or raise :class:`RejectedError`."""
    try:
        return message_class.parse(raw)
    except _MALFORMED as error:
        raise RejectedError(f"The other side sent no valid {message_class.__name__}.") from error


class StrictCodec(ProtoCodec):
    """grpclib's codec with :func:`parse_message` for what arrives."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message; :class:`RejectedError` if it is malformed."""
        return parse_message(message_type, data)
