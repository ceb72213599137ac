"""Manual pages from the option parser's own description of each command, the one ``--help`` prints.

Pure: commands in, roff out (man(7)).  A page carries the program's version and no date, so that it is the
same bytes whenever it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import typer

from collective import __version__

PROGRAM: Final = "collective"
_EXIT_CODES: Final = (
    (0, "done"),
    (1, "another failure"),
    (2, "wrong usage"),
    (3, "not found"),
    (4, "permission denied"),
    (5, "not reachable, or not joined"),
    (6, "not enough healthy copies, or not enough space"),
    (7, "corrupt or rejected data"),
    (8, "conflict: it exists, is not empty, was revoked, or is used up"),
    (9, "done in part: something was left out, and is named"),
)


def title(words: Sequence[str]) -> str:
    """Return the name of the page of a command: ``collective-node-list``."""
    return "-".join((PROGRAM, *words))


def pages(root: Any) -> Mapping[str, str]:
    """Return the pages by name: the program's, and one for each command and group of commands."""
    context = typer.Context(root, info_name=PROGRAM)
    return {title(words): _page(words, at) for words, at in _walk((), context)}


def _walk(words: tuple[str, ...], context: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, context
    for name, command in _commands(context):
        yield from _walk((*words, name), typer.Context(command, info_name=name, parent=context))


def _commands(context: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is below a group, by name; nothing for a command."""
    listed = getattr(context.command, "list_commands", None)
    for name in listed(context) if listed else ():
        command = context.command.get_command(context, name)
        if command is not None and not command.hidden:
            yield name, command


def _page(words: Sequence[str], context: Any) -> str:
    command = context.command
    name = title(words)
    version = f"{PROGRAM} {__version__}"
    lines = [
        f'.TH "{_text(name.upper())}" "1" "" "{_text(version)}" "{_text(PROGRAM)}"',
        ".nh",  # option names stay whole
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(_summary(command))}",
        ".SH SYNOPSIS",
        f".B {_text(' '.join((PROGRAM, *words)))}",
        _text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
    ]
    records: dict[str, list[tuple[str, str]]] = {"ARGUMENTS": [], "OPTIONS": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            kind = "ARGUMENTS" if parameter.param_type_name == "argument" else "OPTIONS"
            records[kind].append(record)
    below = list(_commands(context))
    records["COMMANDS"] = [(one, _summary(made)) for one, made in below]
    for heading, entries in records.items():
        if entries:
            lines.append(f".SH {heading}")
            for term, told in entries:
                lines += [".TP", f".B {_text(term)}", _text(told)]
    if not words:
        lines += [".SH EXIT STATUS"]
        for code, told in _EXIT_CODES:
            lines += [".TP", f".B {code}", _text(told)]
    others = [*([title(words[:-1])] if words else []), *(title((*words, one)) for one, _ in below)]
    lines += [".SH SEE ALSO", *(f".BR {_text(one)} (1)" for one in others)]
    return "\n".join(lines) + "\n"


def _summary(command: Any) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    first = (command.help or "").strip().split("\n\n")[0]
    return " ".join(first.split()).removesuffix(".")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().replace("\b\n", "").split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Return words as roff has them: nothing in them is a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)
