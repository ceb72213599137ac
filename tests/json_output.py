"""Checks what a command printed with ``--json`` against its schema, this version's alone: no other field, none missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Final

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from collective.cli.json_shapes import SHAPES
from tools.docs.json_schemas import schema_of

SEEN: Final[set[str]] = set()
"""Commands whose output was checked in this process."""


@cache
def _validator(command: str) -> Validator:
    return Draft202012Validator(schema_of(command, is_strict=True))


def command_of(arguments: Sequence[str]) -> str | None:
    """Return which command ``arguments`` call, if it is one that prints JSON."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in SHAPES:
            return name
    return None


def check_json(arguments: Sequence[str], out: bytes) -> None:
    """Fail if ``arguments`` ask for JSON and ``out`` is not what the documentation says of it."""
    command = command_of(arguments)
    if command is None or "--json" not in arguments or not out.strip():
        return
    assert out.isascii(), arguments
    values = out.splitlines() if "--watch" in arguments else [out]
    for value in values:
        wrong = [one.message for one in _validator(command).iter_errors(json.loads(value))]
        assert not wrong, f"{' '.join(arguments)}: {wrong}"
    SEEN.add(command)
