"""Every command that prints JSON says how, in one place, and what is published of it can be relied on."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from jsonschema import Draft202012Validator

import collective.cli
from collective.cli.json_shapes import SHAPES, WITHOUT
from tests.json_output import check_json, command_of
from tools.docs.commands import all_commands
from tools.docs.json_schemas import files, page, schema_of

GOLDEN = Path(__file__).with_name("json_fields.txt")
COMMANDS = {" ".join(words): command for words, command in all_commands()}


def takes_json(command: Any) -> bool:
    return any("--json" in one.opts for one in command.params)


def test_every_command_prints_json_in_a_known_shape_or_says_why_it_does_not() -> None:
    assert sorted([*SHAPES, *WITHOUT]) == sorted(COMMANDS)


@pytest.mark.parametrize("command", sorted(SHAPES))
def test_a_command_with_a_shape_takes_json(command: str) -> None:
    assert takes_json(COMMANDS[command])


@pytest.mark.parametrize("command", sorted(SHAPES))
def test_its_schema_is_one_and_allows_what_may_be_added(command: str) -> None:
    for is_strict in (False, True):
        Draft202012Validator.check_schema(schema_of(command, is_strict=is_strict))
    objects = schema_of(command)["$defs"].values()
    assert objects
    for one in objects:
        assert "additionalProperties" not in one
        assert one["required"] == list(one["properties"])
    assert not any("enum" in field for one in objects for field in one["properties"].values())
    for one in schema_of(command, is_strict=True)["$defs"].values():
        assert one["additionalProperties"] is False


def test_the_page_and_the_files_have_every_command() -> None:
    text, made = page(), files()
    for command in SHAPES:
        assert f"| `{command}` | " in text
        assert f"(json/{command.replace(' ', '-')}.json)" in text
        assert f"json/{command.replace(' ', '-')}.json" in made
    for command in WITHOUT:
        assert f"- `{command}`: " in text


def test_what_is_printed_is_typed() -> None:
    """A literal that is handed to ``as_json`` has no type that anybody checks."""
    untyped = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(collective.cli.__path__[0]).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "as_json"
        and node.args
        and isinstance(node.args[0], ast.Dict | ast.DictComp)
    ]
    assert untyped == []


def test_no_field_goes_away() -> None:
    """The promise of the page; a new field is added to the file, in its place."""
    fields = {
        f"{name.removesuffix('Json')}.{field}"
        for command in SHAPES
        for name in schema_of(command)["$defs"]
        for field in get_type_hints(getattr(collective.cli.json_shapes, name))
    }
    assert GOLDEN.read_text().split() == sorted(fields)


# --- the check that other tests make of each output ---------------------------------------------------


def test_arguments_say_which_command_they_call() -> None:
    assert command_of(["node", "list", "--json"]) == "node list"
    assert command_of(["ls", "/", "--json"]) == "ls"
    assert command_of(["read", "/x"]) is None


@pytest.mark.parametrize(
    "out",
    [
        b'{"removed": "3"}',
        b'{"removed": 3, "more": 1}',
        b"{}",
        b"[]",
        '{"removed": 3, "ü": 1}'.encode(),
    ],
)
def test_other_output_is_found(out: bytes) -> None:
    check_json(["rm", "/x", "--json"], b'{"removed": 3}')
    check_json(["rm", "/x"], out)
    with pytest.raises(AssertionError):
        check_json(["rm", "/x", "--json"], out)


def test_words_that_are_not_known_are_found() -> None:
    good = b'[{"node": "n", "was": "doubted", "was_new": true}]'
    check_json(["node", "approve", "n", "--json"], good)
    with pytest.raises(AssertionError, match="dubious"):
        check_json(["node", "approve", "n", "--json"], good.replace(b"doubted", b"dubious"))
