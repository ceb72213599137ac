"""Every command, from what ``--help`` is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer

from collective.cli.app import build
from tools.docs.markdown import cell, code, made_from, prose, table

COMMON: Final = frozenset(
    (
        "--coordinator",
        "--collective",
        "--ca",
        "--cert",
        "--key",
        "--json",
        "--verbose",
        "--no-color",
    )
)
"""Options that nearly every command has; told once."""
HELP: Final = "--help"


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command that does something, with the words that call it."""
    names = getattr(command, "list_commands", None)
    if names is None:
        yield words, command
        return
    context = typer.Context(command)
    for name in names(context):
        yield from walk(command.get_command(context, name), (*words, name))


def all_commands() -> list[tuple[tuple[str, ...], Any]]:
    """Return every command, in the order of help."""
    return list(walk(typer.main.get_command(build())))


def page() -> str:
    """Return the page."""
    found = all_commands()
    common = {
        flag: option
        for _, command in found
        for option in _options(command)
        for flag in option.opts
        if flag in COMMON
    }
    parts = [
        "# Commands\n",
        made_from("the commands themselves"),
        (
            "`collective COMMAND --help` says the same on a terminal. Exit codes are in"
            " [operations](../operations.md#exit-codes).\n"
        ),
        "## Options of most commands\n",
        "They stand after the command. A command below that knows them says *and the common options*.\n",
        table(
            ("option", "meaning", "variable"), [_row(common[flag]) for flag in sorted(set(common))]
        ),
    ]
    for words, command in found:
        parts.append(_section(words, command))
    return "\n".join(parts)


def _options(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "option" and not one.hidden]


def _row(option: Any) -> tuple[str, ...]:
    flags = ", ".join(f"`{one}`" for one in [*option.opts, *option.secondary_opts])
    metavar = "" if option.is_flag else f" {code(option.metavar or option.type.name.upper())}"
    several = " Repeatable." if option.multiple and "epeatable" not in (option.help or "") else ""
    variable = code(option.envvar) if isinstance(option.envvar, str) else ""
    return f"{flags}{metavar}", cell((option.help or "") + several), variable


def _section(words: tuple[str, ...], command: Any) -> str:
    name = " ".join(words)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    shown = " ".join(one.metavar or one.human_readable_name for one in arguments)
    own = [one for one in _options(command) if not COMMON & set(one.opts)]
    own = [one for one in own if HELP not in one.opts]
    has_common = any(COMMON & set(one.opts) for one in _options(command))
    lines = [f"## {name}\n", f"`collective {name}{' ' + shown if shown else ''} [OPTIONS]`\n"]
    lines.append(prose(command.help) + "\n")
    told = [(code(one.metavar or one.name), cell(one.help)) for one in arguments if one.help]
    if told:
        lines.append(table(("argument", "meaning"), told))
    if own:
        lines.append(table(("option", "meaning", "variable"), [_row(one) for one in own]))
    if has_common:
        lines.append("And the [common options](#options-of-most-commands).\n")
    return "\n".join(lines)
