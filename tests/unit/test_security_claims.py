"""Every claim of docs/security.md names tests; each of them, and of those in the README, must exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(tests/[\w/]+\.py)::(?:Test\w+::)?(test_\w+)")


def named(page: str) -> list[tuple[str, str]]:
    """Return every test that a page names, each of which must be named rightly."""
    text = (ROOT / page).read_text()
    anything = re.findall(r"`(tests/[^`]*::[^`]*)`", text)
    found = [NAMED.fullmatch(one) for one in anything]
    assert None not in found, [one for one, ok in zip(anything, found, strict=True) if ok is None]
    return [(match[1], match[2]) for match in found if match is not None]


def functions_of(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {
        one.name
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize(("page", "least"), [("docs/security.md", 40), ("README.md", 3)])
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    claims = named(page)
    assert len(claims) > least
    missing = [f"{path}::{test}" for path, test in claims if test not in functions_of(ROOT / path)]
    assert not missing, missing


def test_every_row_of_a_table_of_claims_names_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("|") and "proved by" in line)
    rows = [
        line
        for table in text.split("\n\n")
        if head.split("|")[-2].strip() in table.split("\n", 1)[0]
        for line in table.splitlines()[2:]
        if line.startswith("|")
    ]
    assert len(rows) > 20
    for row in rows:
        assert NAMED.search(row), row
