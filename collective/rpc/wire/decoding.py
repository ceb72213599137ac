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
from typing import Any, Final, NamedTuple, TypeVar

from betterproto2 import Message
from grpclib.encoding.proto import ProtoCodec

from collective.core.errors import RejectedError
from collective.rpc.wire.encoding import encode
from collective.rpc.wire.layouts import FIXED32, FIXED64, LENGTH, VARINT, Field, fields_of

M = TypeVar("M", bound=Message)

FIELDS_MAX: Final = 65_536
"""Fields in one message with all that it contains, those of newer versions too; a nested message
counts twice."""
UNKNOWN_FIELDS_MAX: Final = FIELDS_MAX // 4
"""Of these, fields of a newer version, which are skipped, at some more cost: enough for several new ones
in each entry of a page."""
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
_AS_IT_IS: Final = frozenset(("uint32", "uint64", "int32", "int64"))
"""Kinds whose value, below 128, is the varint itself."""


class _MalformedError(ValueError):
    """The bytes are no message of the class; says where."""


class _Step(NamedTuple):
    """What to do with the one tag under which a field usually comes."""

    name: str
    number: _Number | None
    """Turns a varint into the value; None for what has a length."""
    is_plain: bool
    """Whether a varint below 128 is the value."""
    convert: Callable[[bytes], Any]
    """Turns the bytes of a string or of bytes into the value."""
    nested: type[Message] | None
    """The class of a message or of a map's entry."""
    keep: Callable[[dict[str, Any], str, Any], None] | None
    """Adds the value to those that came before; None where the last one counts."""


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
        self.steps = {
            field.number << _FIELD_NUMBER_SHIFT | field.wire: _step(
                field, self.numbers.get(field.number)
            )
            for field in fields_of(message_class)
            if field.wire in {VARINT, LENGTH}
        }


def _step(field: Field, number: _Number | None) -> _Step:
    keep = _add_pair if field.kind == "map" else _append if field.repeated else None
    return _Step(
        field.name,
        number,
        field.kind in _AS_IT_IS,
        bytes.decode if field.kind == "string" else bytes,
        field.of if field.kind in {"message", "map"} else None,
        keep,
    )


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
        self._left = FIELDS_MAX
        self._unknown = 0

    def message(self, plan: _Plan, at: int, end: int, depth: int = 0) -> Any:
        """Return the message of ``plan`` in ``raw[at:end]``.

        One loop, since calls made for each field were most of what a large answer costs.  A field
        that runs past ``end`` is found when the loop is left, at the latest.
        """
        if depth > DEPTH_MAX:
            raise _MalformedError("nested too deeply")
        raw, steps = self._raw, plan.steps
        values: dict[str, Any] = {}
        while at < end:
            tag = raw[at]
            at += 1
            if tag >= _CONTINUED:
                tag, at = self._varint(at - 1, end)
            step = steps.get(tag)
            if step is None:
                at = self._uncommon(plan, values, tag, at, end)
                continue
            self._left -= 1
            if self._left < 0:
                raise _MalformedError("too many fields")
            name, number, is_plain, convert, nested, keep = step
            size = raw[at]
            at += 1
            if size >= _CONTINUED:
                size, at = self._varint(at - 1, end)
            if number is not None:
                value = size if is_plain and size < _CONTINUED else number(size)
            else:
                begin, at = at, at + size
                if nested is None:
                    value = convert(raw[begin:at])
                else:
                    self._left -= 1
                    value = self.message(_plan(nested), begin, at, depth + 1)
            if keep is None:
                values[name] = value
            else:
                keep(values, name, value)
        self._ended(at, end)
        return plan.message_class(**values)

    def _uncommon(self, plan: _Plan, values: dict[str, Any], tag: int, at: int, end: int) -> int:
        """Take a field with another tag than :class:`_Step` knows; return where it ends."""
        self._count(1)
        field = plan.by_number.get(tag >> _FIELD_NUMBER_SHIFT)
        if field is None:
            self._unknown += 1
            if self._unknown > UNKNOWN_FIELDS_MAX:
                raise _MalformedError("too many fields")
            return self._skip(tag, at, end)
        if tag & 7 == FIXED64 == field.wire:
            begin, at = at, self._ended(at + 8, end)
            value = _DOUBLE.unpack_from(self._raw, begin)[0]
            if field.repeated:
                _append(values, field.name, value)
            else:
                values[field.name] = value
            return at
        if tag & 7 == LENGTH and field.packed:
            packed, at = self._packed(plan, field, at, end)
            values.setdefault(field.name, []).extend(packed)
            return at
        raise _MalformedError(f"{field.name} has another wire type")

    def _packed(self, plan: _Plan, field: Field, at: int, end: int) -> tuple[list[Any], int]:
        length, at = self._varint(at, end)
        stop = self._ended(at + length, end)
        values: list[Any] = []
        while at < stop:
            self._count(1)
            if field.wire == FIXED64:
                begin, at = at, self._ended(at + 8, stop)
                values.append(_DOUBLE.unpack_from(self._raw, begin)[0])
            else:
                number, at = self._varint(at, stop)
                values.append(plan.numbers[field.number](number))
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

    def _count(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
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


def _append(values: dict[str, Any], name: str, value: Any) -> None:
    values.setdefault(name, []).append(value)


def _add_pair(values: dict[str, Any], name: str, pair: Any) -> None:
    values.setdefault(name, {})[pair.key] = pair.value


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
