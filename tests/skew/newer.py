"""A version of this program that is newer than it: it says what this one does not know.

A copy of the tree, with its protos changed and generated anew, and a few lines of its code.  Of what it
sends, every message has a field more, grants have a right more, some entries are of another kind, and
copies that are not read are in a state of another name; before the first call of each service it calls a
method more, and goes on when it is told that there is none.  It reads all of that itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from tests.integration.commands import CommandServer

ROOT: Final = Path(__file__).parents[2]
CLOSED: Final = ("Ticket", "Receipt")
"""What is signed, and refused whole where anything in it, at any depth, is not known (docs/protocol.md)."""
NUMBER: Final = 999
"""Of every field and value that this version does not know."""
KIND_MARK: Final = "of-another-kind"
"""Entries with this in their name are of a kind that this version does not know."""
ASKED: Final = "asked.log"
"""In the copy's folder: a line for each new method that was called, and how that ended."""


class Version:
    """A machine on which another version of the program is installed."""

    def __init__(self, code: Path) -> None:
        """``code``: the folder of its program and tests."""
        self.code: Path | None = code
        self.commands = CommandServer(self)

    def inside(self) -> AbstractContextManager[None]:
        """Nothing: it is this machine."""
        return nullcontext()


def make_newer(folder: Path) -> Path:
    """Make the newer version in ``folder``; return it."""
    for name in ("collective", "tests"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.xz")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    for proto in (folder / "collective/rpc/proto/collective").rglob("*.proto"):
        proto.write_text(newer_proto(proto.read_text()))
    subprocess.run(
        [sys.executable, "-m", "collective.rpc.generate"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    package = folder / "collective"
    with (package / "rpc/wire/encoding.py").open("a") as file:
        file.write(_ENCODING.replace("CLOSED", repr(CLOSED)))
    with (package / "rpc/gen/message_pool.py").open("a") as file:
        file.write(_CALLS.replace("ASKED", repr(str(folder / ASKED))))
    for name, old, new in _CHANGES:
        text = (package / name).read_text()
        assert text.count(old) == 1, (name, old)
        (package / name).write_text(text.replace(old, new))
    return folder


def newer_proto(text: str) -> str:
    """Return a proto with a field in every message, a value in every enum, a method in every service."""
    text = re.sub(
        r"^( *)message (\w+) \{",
        _newer_message,
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^enum (\w+) \{(.*?)^\}", _newer_enum, text, flags=re.MULTILINE | re.DOTALL)
    services = re.findall(r"^service (\w+) \{", text, re.MULTILINE)
    for service in services:
        text = re.sub(
            rf"^service {service} \{{",
            f"service {service} {{\n  rpc Newer({service}Newer) returns ({service}Newer);",
            text,
            flags=re.MULTILINE,
        )
        text += f"\nmessage {service}Newer {{\n  string newer = {NUMBER};\n}}\n"
    return text


def _newer_message(found: re.Match[str]) -> str:
    if found[2] in CLOSED:
        return found[0]
    return f"{found[0]}\n{found[1]}  string newer = {NUMBER};"


def _newer_enum(found: re.Match[str]) -> str:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", found[1]).upper()
    return f"enum {found[1]} {{{found[2]}  {prefix}_NEWER = {NUMBER};\n}}"


_ENCODING: Final = """

_write_known = _write
_closed = 0


def _write(out: bytearray, message: Message) -> None:
    global _closed
    is_closed = type(message).__name__ in CLOSED
    _closed += is_closed
    try:
        if "newer" in type(message).__annotations__:
            message.newer = "" if _closed else "this version says more"
        _write_known(out, message)
    finally:
        _closed -= is_closed
"""

_CALLS: Final = """

from betterproto2.grpclib import ServiceStub

_call_known = ServiceStub._unary_unary


async def _call(self, route, request, response_type, **how):
    service = route.rsplit("/", 1)[0]
    tried = self.__dict__.setdefault("tried", set())
    if service not in tried:
        tried.add(service)
        try:
            await _call_known(self, f"{service}/Newer", request, response_type, **how)
            end = "served"
        except Exception as error:
            end = type(error).__name__
        with open(ASKED, "a") as log:
            log.write(f"{service.removeprefix('/')} {end}\\n")
    return await _call_known(self, route, request, response_type, **how)


ServiceStub._unary_unary = _call
"""

_CHANGES: Final = (
    (
        "rpc/conversions/rights.py",
        "    return [message for message, right in _RIGHTS.items() if right in rights]",
        (
            "    known = [message for message, right in _RIGHTS.items() if right in rights]\n"
            "    return [*known, pb.Right.NEWER]"
        ),
    ),
    (
        "rpc/conversions/rights.py",
        "    rights = Right.NONE\n",
        (
            "    rights = Right.NONE\n"
            "    messages = [one for one in messages if one != pb.Right.NEWER]\n"
        ),
    ),
    (
        "rpc/conversions/entries.py",
        "        kind=_KINDS[entry.kind],\n",
        (
            "        kind=pb.EntryKind.NEWER\n"
            f"        if {KIND_MARK!r} in str(entry.path)\n"
            "        else _KINDS[entry.kind],\n"
        ),
    ),
    (
        "rpc/conversions/entries.py",
        "_KIND_OF = {message: kind for kind, message in _KINDS.items()}\n",
        (
            "_KIND_OF = {message: kind for kind, message in _KINDS.items()}\n"
            "_KIND_OF[pb.EntryKind.NEWER] = EntryKind.FILE\n"
        ),
    ),
    (
        "roles/node/commands.py",
        '            finding, digest = CopyFinding.UNSPECIFIED, b""\n',
        '            finding, digest = CopyFinding.NEWER, b""\n',
    ),
)
