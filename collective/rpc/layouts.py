"""What the encoder and the decoder know of a message class, worked out once for each class.

betterproto2 keeps a class's fields as metadata and interprets them anew for every field of every
message (and resets Python's warning filters each time), which made up most of a small call.  A
:class:`Layout` is the same knowledge in the form that ``encoding`` and ``decoding`` use.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, cast

from betterproto2 import Message

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRE: Final = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64", "bool", "enum"), VARINT),
    "double": FIXED64,
    **dict.fromkeys(("string", "bytes", "message", "map"), LENGTH),
}
"""The kinds of field that our protos use, by wire type; a test compiles every generated class."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message class."""

    name: str
    number: int
    kind: str
    repeated: bool
    optional: bool
    """Whether absence is something else than the default."""
    of: Any
    """The class of a message, enum or map entry; else None."""
    wire: int
    """The wire type of one value."""
    packed: bool
    """Whether the values stand in one length-delimited field."""

    @property
    def tag(self) -> int:
        """What stands before the field when we write it."""
        return self.number << 3 | (LENGTH if self.packed else self.wire)


@functools.cache
def fields_of(message_class: type[Message]) -> tuple[Field, ...]:
    """Return the fields of a generated class, in the order of their declaration."""
    layout: Any = cast("Any", message_class)._betterproto  # noqa: SLF001 - it has no other name
    return tuple(
        Field(
            name=name,
            number=meta.number,
            kind=meta.proto_type,
            repeated=bool(meta.repeated),
            optional=bool(meta.optional),
            wire=WIRE[meta.proto_type],
            packed=bool(meta.repeated) and WIRE[meta.proto_type] != LENGTH,
            of=layout.cls_by_field.get(name)
            if meta.proto_type in {"message", "enum", "map"}
            else None,
        )
        for name, meta in layout.meta_by_field_name.items()
    )
