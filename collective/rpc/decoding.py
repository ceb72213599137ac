"""Protobuf messages from outside: bytes are checked against the message before they are decoded.

betterproto2 takes fields of another wire type, cut-off fields and numbers of any size as they come,
raises whatever its internals meet, and copies all unknown bytes for each unknown field (quadratic:
minutes for one message within the size limit).  Here every byte is accounted for first, so that what
is decoded afterwards has the types that its class declares.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeVar, cast

from betterproto2 import Message
from grpclib.encoding.proto import ProtoCodec

from collective.core.errors import RejectedError

M = TypeVar("M", bound=Message)

FIELDS_MAX: Final = 65_536
"""Fields in one message with all that it contains; a nested message counts twice."""
UNKNOWN_FIELDS_MAX: Final = 64
"""Fields of a newer version that are skipped in one message with all that it contains."""
DEPTH_MAX: Final = 16
UINT64_MAX: Final = (1 << 62) - 1
"""Largest uint64 accepted: sizes, offsets and their sums stay in a signed 64-bit integer."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE: Final = {
    **dict.fromkeys(
        ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum"), _VARINT
    ),
    **dict.fromkeys(("double", "fixed64", "sfixed64"), _FIXED64),
    **dict.fromkeys(("float", "fixed32", "sfixed32"), _FIXED32),
    **dict.fromkeys(("string", "bytes", "message", "map"), _LENGTH),
}
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_VARINT_MAX_BYTES: Final = 10
_FIELD_NUMBER_SHIFT: Final = 3

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


class _MalformedError(ValueError):
    """The bytes are no message of the class; says where."""


class _Scan:
    """One walk over the bytes of a message, without decoding them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._fields = 0
        self._unknown = 0

    def message(self, message_class: type[Message], at: int, end: int, depth: int = 0) -> None:
        """Check the message of ``message_class`` in ``raw[at:end]``."""
        if depth > DEPTH_MAX:
            raise _MalformedError("nested too deeply")
        layout: Any = cast("Any", message_class)._betterproto  # noqa: SLF001 - it has no other name
        names, metas = layout.field_name_by_number, layout.meta_by_field_name
        while at < end:
            tag, at = self._varint(at, end)
            wire = tag & 7
            name = names.get(tag >> _FIELD_NUMBER_SHIFT)
            self._count(known=name is not None)
            begin, at = self._value(wire, at, end)
            if name is None:
                if not tag >> _FIELD_NUMBER_SHIFT:
                    raise _MalformedError("field number 0")
                continue
            meta = metas[name]
            kind = meta.proto_type
            if wire != _WIRE[kind]:
                if wire != _LENGTH or not meta.repeated or _WIRE[kind] == _LENGTH:
                    raise _MalformedError(f"{name} has another wire type")
                self._packed(kind, begin, at)
            elif kind in {"message", "map"}:
                self._count(known=True)
                self.message(layout.cls_by_field[name], begin, at, depth + 1)
            elif kind == "uint64":
                self._check_uint64(begin, at)

    def _count(self, *, known: bool) -> None:
        self._fields += 1
        self._unknown += not known
        if self._fields > FIELDS_MAX or self._unknown > UNKNOWN_FIELDS_MAX:
            raise _MalformedError("too many fields")

    def _value(self, wire: int, at: int, end: int) -> tuple[int, int]:
        """Return where the value of a field begins and ends."""
        begin = at
        if wire == _VARINT:
            _, at = self._varint(at, end)
        elif wire == _LENGTH:
            length, begin = self._varint(at, end)
            at = begin + length
        elif wire in _FIXED_BYTES:
            at += _FIXED_BYTES[wire]
        else:
            raise _MalformedError("unknown wire type")
        if at > end:
            raise _MalformedError("cut off")
        return begin, at

    def _packed(self, kind: str, at: int, end: int) -> None:
        wire = _WIRE[kind]
        while at < end:
            self._count(known=True)
            begin, at = self._value(wire, at, end)
            if kind == "uint64":
                self._check_uint64(begin, at)

    def _check_uint64(self, at: int, end: int) -> None:
        if self._varint(at, end)[0] > UINT64_MAX:
            raise _MalformedError("a number is too large")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        raw, value = self._raw, 0
        for count in range(_VARINT_MAX_BYTES):
            if at >= end:
                raise _MalformedError("cut off")
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                return value, at
        raise _MalformedError("a number has no end")


def parse_message(message_class: type[M], raw: bytes) -> M:
    """Return the message in ``raw``, or raise :class:`RejectedError`.

    Every field of what is returned has the type that its class declares; uint64 fields are at most
    :data:`UINT64_MAX`.
    """
    try:
        _Scan(raw).message(message_class, 0, len(raw))
        return message_class.parse(raw)
    except _MALFORMED as error:
        raise RejectedError(f"The other side sent no valid {message_class.__name__}.") from error


class StrictCodec(ProtoCodec):
    """grpclib's codec with :func:`parse_message` for what arrives."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message; :class:`RejectedError` if it is malformed."""
        return parse_message(message_type, data)
