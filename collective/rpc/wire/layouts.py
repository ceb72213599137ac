"""What the encoder and the decoder know of a message class, worked out once for each class.

betterproto2 keeps a class's fields as metadata and interprets them anew for every field of every
message (and resets Python's warning filters each time), which made up most of a small call.  A
:class:`Layout` is the same knowledge in the form that ``encoding`` and ``decoding`` use.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any, Final, NamedTuple, cast, get_args, get_type_hints

from betterproto2 import FieldMetadata, Message, field

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRE: Final = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64", "bool", "enum"), VARINT),
    "double": FIXED64,
    **dict.fromkeys(("string", "bytes", "message", "map"), LENGTH),
}
"""The kinds of field that our protos use, by wire type; a test compiles every generated class."""


_PLAIN: Final = {"string": str, "bytes": bytes, "bool": bool, "uint32": int, "uint64": int}
"""What a map may hold."""


class Field(NamedTuple):
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
    declared = [
        (one.name, FieldMetadata.get(one)) for one in dataclasses.fields(cast("Any", message_class))
    ]
    return tuple(
        Field(
            name=name,
            number=meta.number,
            kind=meta.proto_type,
            repeated=bool(meta.repeated),
            optional=bool(meta.optional),
            wire=WIRE[meta.proto_type],
            packed=bool(meta.repeated) and WIRE[meta.proto_type] != LENGTH,
            of=_class_of(message_class, name, meta),
        )
        for name, meta in declared
    )


def _class_of(message_class: type[Message], name: str, meta: FieldMetadata) -> Any:
    """Return the class of a field's value where it is of one: a message, an enum, a map's entry."""
    if meta.map_meta is not None:
        key, value = meta.map_meta
        return _entry_class(key.proto_type, value.proto_type)
    if meta.proto_type not in {"message", "enum"}:
        return None
    hint = _hints(message_class)[name]
    return (get_args(hint) or (hint,))[0]  # of a list, or of what may be absent


@functools.cache
def _hints(message_class: type[Message]) -> dict[str, Any]:
    """Return the types of all fields; betterproto2 works out all of them anew for each field."""
    return get_type_hints(message_class, vars(sys.modules[message_class.__module__]))


@functools.cache
def _entry_class(key: str, value: str) -> type[Message]:
    """Return the message that an entry of a map is on the wire."""
    assert {key, value} <= _PLAIN.keys(), "our maps hold no messages and no enums"
    entry = dataclasses.make_dataclass(
        "Entry",
        [("key", _PLAIN[key], field(1, key)), ("value", _PLAIN[value], field(2, value))],
        bases=(Message,),
    )
    return cast("type[Message]", entry)
