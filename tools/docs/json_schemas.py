"""JSON Schemas (draft 2020-12) of what commands print with ``--json``, from its types, and a page about them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints, is_typeddict

from collective.cli.json_shapes import SHAPES, WITHOUT
from tools.docs.markdown import cell, code, made_from, table

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Final = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_UNIONS: Final = (types.UnionType, typing.Union)


def schema_of(command: str, *, is_strict: bool = False) -> dict[str, Any]:
    """Return the schema of what ``command`` prints.

    ``is_strict``: of this version alone, without what later ones may add; the published one allows it.
    """
    shape = SHAPES[command]
    return {
        "$schema": DRAFT,
        "title": f"collective {command} --json",
        **_schema(shape, is_strict=is_strict),
        "$defs": {one.__name__: _object(one, is_strict=is_strict) for one in _objects(shape)},
    }


def _schema(shape: Any, *, is_strict: bool) -> dict[str, Any]:
    """Return the schema of one type; objects are referred to."""
    origin, given = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return _annotated(given[0], given[1:], is_strict=is_strict)
    if origin in _UNIONS:
        return {"anyOf": [_schema(one, is_strict=is_strict) for one in given]}
    if origin is list:
        return {"type": "array", "items": _schema(given[0], is_strict=is_strict)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(given[1], is_strict=is_strict)}
    if is_typeddict(shape):
        return {"$ref": f"#/$defs/{shape.__name__}"}
    return {"type": _PLAIN[shape]}


def _annotated(shape: Any, notes: tuple[Any, ...], *, is_strict: bool) -> dict[str, Any]:
    made = _schema(shape, is_strict=is_strict)
    for note in notes:
        if note == "":
            made["description"] += " Empty where it is not known."
        elif isinstance(note, str):
            made["description"] = note
        else:
            assert issubclass(note, Enum), note
            words = [one.value for one in note]
            made["description"] = f"{_listed(words)}; later versions may add words."
            if is_strict:
                made["enum"] = ["", *words] if "" in notes else words
    return made


def _listed(words: list[str]) -> str:
    *most, last = (f"`{one}`" for one in words)
    return f"{', '.join(most)} or {last}"


def _object(shape: Any, *, is_strict: bool) -> dict[str, Any]:
    fields = get_type_hints(shape, include_extras=True)
    made: dict[str, Any] = {
        "type": "object",
        "description": shape.__doc__,
        "properties": {name: _schema(one, is_strict=is_strict) for name, one in fields.items()},
        "required": list(fields),
    }
    if is_strict:
        made["additionalProperties"] = False
    return made


def _objects(shape: Any) -> list[Any]:
    """Return every object that ``shape`` has in it, the outer ones first, each once."""
    return list(dict.fromkeys(_found(shape)))


def _found(shape: Any) -> Iterator[Any]:
    if is_typeddict(shape):
        yield shape
        for one in get_type_hints(shape, include_extras=True).values():
            yield from _found(one)
        return
    for one in get_args(shape):
        if not isinstance(one, str):
            yield from _found(one)


# --- the page ---------------------------------------------------------------------------------------


def files() -> Mapping[str, str]:
    """Return the schemas as files: name and text of each."""
    return {
        f"json/{command.replace(' ', '-')}.json": json.dumps(schema_of(command), indent=2) + "\n"
        for command in SHAPES
    }


def page() -> str:
    """Return the page."""
    shapes: dict[str, Any] = {}
    for shape in SHAPES.values():
        shapes |= {one.__name__: one for one in _objects(shape)}
    parts = [
        "# JSON\n",
        made_from("the types of what is printed (`collective/cli/json_shapes.py`)"),
        (
            "With `--json` a command prints one value on standard output, in ASCII, and everything else on"
            " standard error. `status --watch` prints one value a line. Where a command fails there is no"
            " value, but a sentence on standard error and an"
            " [exit code](../operations.md#exit-codes). With exit code 9 the value names what was left"
            " out; `doctor`, `healthcheck`, `init` and `join` print what they found whatever their code.\n"
        ),
        (
            "**What you may rely on.** Within a major version fields are added, and none is renamed or"
            " removed or gets another type; words of a list may be added. So read the fields that you know,"
            " and ignore others. Every field is always there: null, empty or 0 where there is nothing to"
            " say. The schemas are JSON Schema, draft 2020-12, and allow what may be added.\n"
        ),
        table(
            ("command", "prints", "schema"),
            [
                (code(command), _shown(shape), f"[schema](json/{command.replace(' ', '-')}.json)")
                for command, shape in SHAPES.items()
            ],
        ),
        "Without `--json`:\n",
        "\n".join(f"- {code(command)}: {cell(why)}." for command, why in WITHOUT.items()) + "\n",
    ]
    for name in sorted(shapes):
        shape = shapes[name]
        parts += [f"## {_title(name)}\n", f"{shape.__doc__}\n"]
        fields = get_type_hints(shape, include_extras=True)
        parts.append(
            table(
                ("field", "type", "meaning"),
                [(code(field), _shown(one), _meaning(one)) for field, one in fields.items()],
            )
        )
    return "\n".join(parts)


def _title(name: str) -> str:
    return name.removesuffix("Json")


def _shown(shape: Any) -> str:
    """Return a type as Markdown: an object leads to its table."""
    origin, given = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return _shown(given[0])
    if origin in _UNIONS:
        return " or ".join(_shown(one) for one in given)
    if origin is list:
        return f"list of {_shown(given[0])}"
    if origin is dict:
        return f"object of {_shown(given[1])}"
    if is_typeddict(shape):
        title = _title(shape.__name__)
        return f"[{title}](#{title.lower()})"
    return _PLAIN[shape]


def _meaning(shape: Any) -> str:
    notes = [one for one in _schemas_of(shape) if "description" in one]
    return cell(notes[0]["description"]) if notes else ""


def _schemas_of(shape: Any) -> list[dict[str, Any]]:
    made = _schema(shape, is_strict=False)
    return [made, *made.get("anyOf", ())]
