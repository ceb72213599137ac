"""The catalogue's contract suite knows the interface alone, so that another engine can be held to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SUITE: Final = Path(__file__).parents[2] / "contract" / "catalog"
NAMES_ENGINES: Final = "engines.py"
ENGINES: Final = ("collective.catalog.sqlite", "tests.contract.catalog_sqlite", "apsw", "sqlite3")
"""An engine, its own suite, and what it is made of."""
INSIDE: Final = "_engine"
"""The attribute by which a test would get inside a catalogue without an import."""


def is_engine(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in ENGINES)


def engines_in(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, names in a text (to patch it) or reaches into of an engine."""
    for found in ast.walk(tree):
        if isinstance(found, ast.Import):
            yield from (one.name for one in found.names if is_engine(one.name))
        elif isinstance(found, ast.ImportFrom):
            module = found.module or ""
            for one in found.names:
                if is_engine(module) or is_engine(f"{module}.{one.name}"):
                    yield f"{module}.{one.name}"
        elif isinstance(found, ast.Constant):
            if isinstance(found.value, str) and is_engine(found.value):
                yield found.value
        elif isinstance(found, ast.Attribute) and found.attr == INSIDE:
            yield ast.unparse(found)


def test_one_file_of_the_catalogues_suite_names_engines() -> None:
    found = {
        path.name: list(engines_in(ast.parse(path.read_text()))) for path in SUITE.rglob("*.py")
    }
    assert len(found) > 25
    assert found.pop(NAMES_ENGINES), "else this looks at the wrong place"
    assert {name: engines for name, engines in found.items() if engines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import collective.catalog.sqlite",
        "import collective.catalog.sqlite.store.writer as w",
        "from collective.catalog import sqlite",
        "from collective.catalog.sqlite import SqliteCatalog",
        "def f():\n    from collective.catalog.sqlite.store.rows import USING",
        "from tests.contract.catalog_sqlite.plans import watching",
        "import apsw",
        "patch.setattr('collective.catalog.sqlite.files.uploads.check_page', None)",
        "catalog._engine.read(None)",
    ],
)
def test_each_way_to_an_engine_is_found(source: str) -> None:
    assert len(list(engines_in(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from collective.catalog.interface import Catalog",
        "from collective.catalog.decisions import quotas",
        "from tests.contract.catalog.engines import Engines",
        "engines.open()",
        "'a text about collective.catalog.sqlite'",
    ],
)
def test_what_is_no_engine_is_not_taken_for_one(source: str) -> None:
    assert not list(engines_in(ast.parse(source)))
