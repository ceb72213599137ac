"""What is made of what can be read: few arguments, few bases, and nothing is completed after it was made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import collective

PACKAGE: Final = Path(collective.__file__).parent
ARGUMENTS_MAX: Final = 6
BASES_MAX: Final = 2
"""Of a protocol too: one that inherits from many is as flat and as long as a class made of mixins."""
MORE: Final = {
    "client.identity.renewal.Renewer",
    "member.files.member_files.MemberFiles",
    "member.people.joining.Joining",
    "roles.runtime.diskwatch.DiskWatch",
    "transfer.engine.download.Download",
    "transfer.stream.server.ChunkServer",
}
"""Classes that are made of more; only ever fewer."""


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            yield name, ast.parse(path.read_text())


def wide(name: str, tree: ast.Module) -> Iterator[str]:
    for found in ast.walk(tree):
        if not isinstance(found, ast.ClassDef):
            continue
        for made in found.body:
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                count = len([*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs]) - 1
                if count > ARGUMENTS_MAX:
                    yield f"{name}.{found.name}"


def assembled(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield classes that are put together from many."""
    for found in ast.walk(tree):
        if isinstance(found, ast.ClassDef) and len(found.bases) > BASES_MAX:
            yield f"{name}.{found.name}"


def completed_later(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield assignments to a callback of something else, and lambdas where things are made."""
    for found in ast.walk(tree):
        if isinstance(found, ast.Assign):
            for target in found.targets:
                if isinstance(target, ast.Attribute) and target.attr.startswith("on_"):
                    yield f"{name}:{found.lineno} {ast.unparse(target)}"
        elif isinstance(found, ast.Lambda) and name.endswith((".app", ".wiring")):
            yield f"{name}:{found.lineno} {ast.unparse(found)}"


def test_no_class_is_made_of_more_than_six_things() -> None:
    found = {
        one
        for name, tree in trees("client", "federation", "member", "roles", "transfer")
        for one in wide(name, tree)
    }
    assert found == MORE


def test_no_class_is_assembled_from_others() -> None:
    assert [one for name, tree in trees(".") for one in assembled(name, tree)] == []


def test_nothing_is_completed_after_it_was_made() -> None:
    assert [
        one for name, tree in trees("member", "roles") for one in completed_later(name, tree)
    ] == []


def test_what_is_looked_for_is_found() -> None:
    made = "class A:\n    def __init__(self, a, b, c, d, e, *, f, g): ...\n"
    assert list(wide("roles.x.wiring", ast.parse(made))) == ["roles.x.wiring.A"]
    mixed = "class A(B, C, D): ...\nclass E(F, Protocol): ...\n"
    assert list(assembled("catalog.x", ast.parse(mixed))) == ["catalog.x.A"]
    late = "a.on_change = b\nc = D(lambda: e.channel)\n"
    assert len(list(completed_later("roles.x.wiring", ast.parse(late)))) == 2
