"""Protobuf messages from outside: bytes to messages in one walk that accounts for every byte.

betterproto2's own parser takes fields of another wire type, cut-off fields and numbers of any size as
they come, raises whatever its internals meet, and copies all unknown bytes for each unknown field
(quadratic: minutes for one message within the size limit).  Here a message is either what its class
declares, within bounds, or refused.  Fields of newer versions are skipped and not kept.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar

from betterproto2 import Message
from grpclib.encoding.proto import ProtoCodec

from collective.core.errors import RejectedError
from collective.rpc.encoding import encode
from collective.rpc.layouts import FIXED32, FIXED64, LENGTH, VARINT, Field, fields_of

M = TypeVar("M", bound=Message)

FIELDS_MAX: Final = 65_536
"""Fields in one message with all that it contains; a nested message counts twice."""
UNKNOWN_FIELDS_MAX: Final = 64
"""Fields of a newer version that are skipped in one message with all that it contains."""
DEPTH_MAX: Final = 16
UINT64_MAX: Final = (1 << 62) - 1
"""Largest uint64 accepted: sizes, offsets and their sums stay in a signed 64-bit integer."""

_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}
_VARINT_MAX_BYTES: Final = 10
_FIELD_NUMBER_SHIFT: Final = 3
_CONTINUED: Final = 0x80
_DOUBLE: Final = struct.Struct("<d")

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

_Number = Callable[[int], Any]


class _MalformedError(ValueError):
    """The bytes are no message of the class; says where."""


class _Plan:
    """How one message class is read."""

    def __init__(self, message_class: type[Message]) -> None:
        """Work it out; see :func:`_plan`."""
        self.message_class = message_class
        self.by_number = {field.number: field for field in fields_of(message_class)}
        self.numbers = {
            field.number: _number_reader(field)
            for field in fields_of(message_class)
            if field.wire == VARINT
        }


@functools.cache
def _plan(message_class: type[Message]) -> _Plan:
    return _Plan(message_class)


def _number_reader(field: Field) -> _Number:
    """Return what turns a varint of ``field`` into its value."""
    readers: dict[str, _Number] = {
        "bool": bool,
        "enum": _enum_reader(field.of),
        "uint32": _uint32,
        "uint64": _uint64,
        "int32": functools.partial(_signed, bits=32),
        "int64": functools.partial(_signed, bits=64),
    }
    return readers[field.kind]


def _enum_reader(of: Any) -> _Number:
    known = {int(member): member for member in of} if of is not None else {}

    def read(value: int) -> Any:
        member = known.get(value)
        return of(_signed(value, bits=32)) if member is None else member

    return read


def _uint32(value: int) -> int:
    return value & 0xFFFF_FFFF


def _uint64(value: int) -> int:
    if value > UINT64_MAX:
        raise _MalformedError("a number is too large")
    return value


def _signed(value: int, *, bits: int) -> int:
    sign = 1 << (bits - 1)
    return ((value & ((1 << bits) - 1)) ^ sign) - sign


class _Decoder:
    """One walk over the bytes of a message."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._fields = 0
        self._unknown = 0

    def message(self, plan: _Plan, at: int, end: int, depth: int = 0) -> Any:
        """Return the message of ``plan`` in ``raw[at:end]``."""
        if depth > DEPTH_MAX:
            raise _MalformedError("nested too deeply")
        raw, by_number = self._raw, plan.by_number
        values: dict[str, Any] = {}
        while at < end:
            tag = raw[at]
            if tag < _CONTINUED:
                at += 1
            else:
                tag, at = self._varint(at, end)
            field = by_number.get(tag >> _FIELD_NUMBER_SHIFT)
            self._count(known=field is not None)
            if field is None:
                at = self._skip(tag, at, end)
            elif tag & 7 == field.wire:
                value, at = self._value(plan, field, at, end, depth)
                _keep(values, field, value)
            elif tag & 7 == LENGTH and field.packed:
                packed, at = self._packed(plan, field, at, end)
                values.setdefault(field.name, []).extend(packed)
            else:
                raise _MalformedError(f"{field.name} has another wire type")
        return plan.message_class(**values)

    def _value(self, plan: _Plan, field: Field, at: int, end: int, depth: int) -> tuple[Any, int]:
        """Return one value of ``field`` and where it ends."""
        if field.wire == VARINT:
            number, at = self._varint(at, end)
            return plan.numbers[field.number](number), at
        if field.wire == FIXED64:
            begin, at = at, self._ended(at + 8, end)
            return _DOUBLE.unpack_from(self._raw, begin)[0], at
        length, begin = self._varint(at, end)
        at = self._ended(begin + length, end)
        if field.kind == "bytes":
            return self._raw[begin:at], at
        if field.kind == "string":
            return self._raw[begin:at].decode(), at
        self._count(known=True)
        return self.message(_plan(field.of), begin, at, depth + 1), at

    def _packed(self, plan: _Plan, field: Field, at: int, end: int) -> tuple[list[Any], int]:
        length, at = self._varint(at, end)
        stop = self._ended(at + length, end)
        values = []
        while at < stop:
            self._count(known=True)
            value, at = self._value(plan, field, at, stop, 0)
            values.append(value)
        return values, stop

    def _skip(self, tag: int, at: int, end: int) -> int:
        """Return where the value of an unknown field ends."""
        wire = tag & 7
        if not tag >> _FIELD_NUMBER_SHIFT:
            raise _MalformedError("field number 0")
        if wire == VARINT:
            return self._varint(at, end)[1]
        if wire == LENGTH:
            length, at = self._varint(at, end)
            return self._ended(at + length, end)
        if wire in _FIXED_BYTES:
            return self._ended(at + _FIXED_BYTES[wire], end)
        raise _MalformedError("unknown wire type")

    def _count(self, *, known: bool) -> None:
        self._fields += 1
        self._unknown += not known
        if self._fields > FIELDS_MAX or self._unknown > UNKNOWN_FIELDS_MAX:
            raise _MalformedError("too many fields")

    @staticmethod
    def _ended(at: int, end: int) -> int:
        if at > end:
            raise _MalformedError("cut off")
        return at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        raw, value = self._raw, 0
        for shift in range(0, 7 * _VARINT_MAX_BYTES, 7):
            if at >= end:
                raise _MalformedError("cut off")
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < _CONTINUED:
                return value, at
        raise _MalformedError("a number has no end")


def _keep(values: dict[str, Any], field: Field, value: Any) -> None:
    if field.kind == "map":
        values.setdefault(field.name, {})[value.key] = value.value
    elif field.repeated:
        values.setdefault(field.name, []).append(value)
    else:
        values[field.name] = value


def parse_message(message_class: type[M], raw: bytes) -> M:
    """Return the message in ``raw``, or raise :class:`RejectedError`.

    Every field of what is returned has the type that its class declares; uint64 fields are at most
    :data:`UINT64_MAX`.
    """
    try:
        found: M = _Decoder(raw).message(_plan(message_class), 0, len(raw))
    except _MALFORMED as error:
        raise RejectedError(f"The other side sent no valid {message_class.__name__}.") from error
    return found


class StrictCodec(ProtoCodec):
    """grpclib's codec with our own encoder and :func:`parse_message`."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of ``message``."""
        if not isinstance(message, message_type):
            raise TypeError(f"{message_type.__name__} is sent here, not {type(message).__name__}.")
        return encode(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message; :class:`RejectedError` if it is malformed."""
        return parse_message(message_type, data)
