"""What a program calls, from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

from collective.client.collective import Collective
from collective.client.files.interface import FileReader, Files, FileWriter, OpenFile
from collective.client.files.outcomes import Outcome
from collective.client.options import ClientOptions
from collective.client.sync import SyncCollective, SyncFiles
from collective.client.trees.result import LeftOut, TreeResult
from collective.core import errors
from collective.model.changes import Change, Changes, ListAnew
from collective.model.entries import Entry
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus
from collective.model.writing import Attributes, Precondition
from collective.pki.credentials import Credentials
from collective.rpc.remote.datastores import RemoteDatastores
from collective.rpc.remote.nodes import RemoteNodes
from collective.rpc.remote.peering import RemotePeers
from collective.rpc.remote.people import RemotePeople
from collective.rpc.remote.trust import RemoteTrust
from tools.docs.markdown import cell, code, made_from, prose, table

CALLED: Final[tuple[type, ...]] = (
    Files,
    FileReader,
    OpenFile,
    FileWriter,
    Collective,
    SyncFiles,
    SyncCollective,
    RemotePeople,
    RemoteNodes,
    RemoteDatastores,
    RemotePeers,
    RemoteTrust,
)
"""Classes with methods that programs call, in the order of the page."""
VALUES: Final[tuple[type, ...]] = (
    Credentials,
    ClientOptions,
    Entry,
    Attributes,
    Precondition,
    Outcome,
    Change,
    Changes,
    ListAnew,
    TreeResult,
    LeftOut,
    Grant,
    NodeStatus,
)
_SECTIONS: Final = re.compile(r"^(Args|Returns|Raises|Yields):$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    parts = [
        "# Python API\n",
        made_from("the classes themselves"),
        (
            "Everything is asyncio. Errors are the classes at the end, all of them `CollectiveError`;"
            " nothing else is raised on purpose.\n"
        ),
    ]
    parts += [_class(one) for one in CALLED]
    parts.append("## Values\n")
    parts += [_value(one) for one in VALUES]
    parts.append(_errors())
    return "\n".join(parts)


def methods(of: type) -> Iterator[tuple[str, Any]]:
    """Yield what a program may call or ask of a class, in the order of its source."""
    for name, member in vars(of).items():
        if not name.startswith("_"):
            yield name, member


def _class(of: type) -> str:
    lines = [f"## {of.__name__}\n", f"`{of.__module__}.{of.__qualname__}`\n", _text(of.__doc__)]
    for name, member in methods(of):
        function = inspect.unwrap(getattr(member, "__func__", member))
        asked = getattr(member, "fget", None) or getattr(member, "func", None)
        if asked is not None:
            lines += [f"### {of.__name__}.{name}\n", _text(asked.__doc__)]
        elif inspect.isfunction(function):
            is_context = hasattr(getattr(member, "__func__", member), "__wrapped__")
            lines += [f"### {of.__name__}.{name}\n"]
            lines.append(_signature(name, function, is_context=is_context))
            lines.append(_text(function.__doc__))
    return "\n".join(lines)


def _signature(name: str, function: Any, *, is_context: bool) -> str:
    signature = inspect.signature(function)
    shown = [one for one in signature.parameters.values() if one.name not in {"self", "cls"}]
    text = str(signature.replace(parameters=shown)).replace("'", "")
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    if inspect.isasyncgenfunction(function) and is_context:
        word = "async with"
    return f"```python\n{word} {name}{text}\n```\n"


def _text(docstring: str | None) -> str:
    """Return a docstring; its sections as blocks that keep their lines."""
    text = prose(docstring)
    head, *sections = _SECTIONS.split(text)
    lines = []
    in_example = False
    for line in head.strip().splitlines():
        is_example = line.startswith((">>>", "..."))
        if is_example != in_example:
            lines.append("```python" if is_example else "```")
        in_example = is_example
        lines.append(line)
    parts = ["\n".join([*lines, *(["```"] if in_example else [])]) + "\n"]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        items = [" ".join(one.split()) for one in re.split(r"\n {4}(?! )", body) if one.strip()]
        parts.append(f"**{title}**\n")
        parts.append("\n".join(f"- {one}" for one in items) + "\n")
    return "\n".join(parts)


def _value(of: type) -> str:
    lines = [f"### {of.__name__}\n", f"`{of.__module__}.{of.__qualname__}`\n", _text(of.__doc__)]
    if dataclasses.is_dataclass(of):
        rows = [(code(one.name), code(str(one.type))) for one in dataclasses.fields(of)]
        lines.append(table(("field", "type"), rows))
    return "\n".join(lines)


def _errors() -> str:
    found = [
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, errors.CollectiveError)
    ]
    rows = [
        (code(one.__name__), str(int(one.exit_code)), cell(prose(one.__doc__).split("\n\n")[0]))
        for one in found
    ]
    head = "## Errors\n\nIn `collective.core.errors`; the command line ends with the exit code.\n\n"
    return head + table(("class", "exit code", "meaning"), rows)
