"""Reads the committed descriptor set, just enough for reflection.

A ``FileDescriptorSet`` is cut into its files; of each file the name, the imports and the symbols
that it defines are read from the wire format (protobuf encoding guide).  The set is our own, so a
malformed one is a defect: ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_FILE_NAME, _FILE_PACKAGE, _FILE_IMPORT, _FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 1, 2, 3, 4, 5, 6
_NAME, _NESTED, _NESTED_ENUM, _METHOD, _ENUM_VALUE, _FIELD = 1, 3, 4, 2, 2, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONTINUES: Final = 0x80


@dataclass(frozen=True, slots=True)
class ProtoFile:
    """One file of the set."""

    name: str
    raw: bytes
    """The serialised FileDescriptorProto."""
    imports: tuple[str, ...]
    symbols: frozenset[str]
    """Full names of its messages, fields, enums, services and methods."""


def read_descriptor_set(raw: bytes) -> tuple[ProtoFile, ...]:
    """Return the files of a serialised FileDescriptorSet, in its order."""
    return tuple(_read_file(value) for number, value in _fields(raw) if number == 1)


def _read_file(raw: bytes) -> ProtoFile:
    name, package, imports = "", "", []
    for number, value in _fields(raw):
        if number == _FILE_NAME:
            name = value.decode()
        elif number == _FILE_PACKAGE:
            package = value.decode()
        elif number == _FILE_IMPORT:
            imports.append(value.decode())
    symbols: set[str] = set()
    for number, value in _fields(raw):
        if number == _FILE_MESSAGE:
            symbols.update(_message_symbols(package, value))
        elif number == _FILE_ENUM:
            symbols.update(_members(package, value, _ENUM_VALUE))
        elif number == _FILE_SERVICE:
            symbols.update(_members(package, value, _METHOD))
    return ProtoFile(name, raw, tuple(imports), frozenset(symbols))


def _message_symbols(scope: str, raw: bytes) -> Iterator[str]:
    yield from _members(scope, raw, _FIELD)
    own = f"{scope}.{_name(raw)}"
    for number, value in _fields(raw):
        if number == _NESTED:
            yield from _message_symbols(own, value)
        elif number == _NESTED_ENUM:
            yield from _members(own, value, _ENUM_VALUE)


def _members(scope: str, raw: bytes, member_number: int) -> Iterator[str]:
    own = f"{scope}.{_name(raw)}"
    yield own
    for number, value in _fields(raw):
        if number == member_number:
            yield f"{own}.{_name(value)}"


def _name(raw: bytes) -> str:
    return next((value.decode() for number, value in _fields(raw) if number == _NAME), "")


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, value) of each length-delimited field; others are skipped."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, at = _varint(raw, at)
            if at + length > len(raw):
                raise ValueError("descriptor cut short")
            yield number, raw[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(raw, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} in a descriptor")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw):
            raise ValueError("descriptor cut short")
        byte = raw[at]
        at += 1
        value |= (byte & ~_CONTINUES) << shift
        if byte < _CONTINUES:
            return value, at
        shift += 7
