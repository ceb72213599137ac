"""What README and docs say of the program is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import collective
from collective.cli.app import COMMANDS, GROUPS, run
from collective.core.errors import ExitCode
from collective.core.settings import SETTINGS
from tests.pages.blocks import REASONS, Block, blocks_of
from tools.docs.commands import all_commands
from tools.docs.pages import PAGES as MADE

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
SITE = (ROOT / "mkdocs.yml").read_text()
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
"""Made by ``make docs``, and here only then; what would be there is in :data:`MADE`."""
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(one for one in DOCS.rglob("*.md") if REFERENCE not in one.parents),
]


def test_the_table_of_exit_codes_has_each_of_them_and_the_readme_links_it() -> None:
    section = OPERATIONS.split("## Exit codes")[1].split("\n## ")[0]
    told = [int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert told == [*sorted(ExitCode), 130]
    assert "docs/operations.md#exit-codes" in README


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"collective {collective.__version__}\n"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The pages of the reference, by name."""
    return {name: make() for name, make in MADE.items()}


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path, made: dict[str, str]) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent == REFERENCE:
            text = made[target.name]
        else:
            assert target.exists(), link
            text = target.read_text() if target.suffix == ".md" else ""
        assert not anchor or anchor in anchors(text), link


def test_the_commands_that_pages_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """In code; what ends with a number is a label of something that is signed."""
    named: set[tuple[str, ...]] = set()
    for page in PAGES:
        text = page.read_text()
        found = re.findall(r"`collective\s+([a-z]+)(?:\s+([a-z-]+))?[^`]*(?<! \d)`", text)
        for block in re.findall(r"```.*?```", text, re.DOTALL):
            found += re.findall(
                r"^(?:\w+\$ +)?collective ([a-z]+)(?: ([a-z-]+))?", block, re.MULTILINE
            )
        named |= {(one, sub) if one in GROUPS and sub else (one,) for one, sub in found}
    assert {("peer", "invite"), ("grant", "add"), ("cp",)} <= named
    for one in sorted(named):
        assert run([*one, "--help"]) == 0, one
    capsys.readouterr()


# --- the site ------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    entries = set(re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", SITE, re.MULTILINE))
    decisions = set(re.findall(r"\]\(([^)]+)\)", (DOCS / "adr" / "README.md").read_text()))
    there = {str(one.relative_to(DOCS)) for one in PAGES if DOCS in one.parents}
    there |= {f"reference/{name}" for name in MADE}
    assert entries == {one for one in there if not re.match(r"adr/\d", one)}
    assert {f"adr/{one}" for one in decisions} == {one for one in there if re.match(r"adr/\d", one)}


def test_the_reference_has_every_command_and_every_option_of_it(made: dict[str, str]) -> None:
    page = made["commands.md"]
    sections = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", page, re.MULTILINE))
    commands = all_commands()
    assert {words[0] for words, _ in commands} == set(COMMANDS)
    for words, command in commands:
        section = sections[" ".join(words)]
        whole = section
        if "common options" in section:
            whole += sections["Options of most commands"]
        for option in command.params:
            if option.param_type_name == "option" and "--help" not in option.opts:
                assert f"`{option.opts[0]}`" in whole, (words, option.opts)


def test_the_reference_has_every_setting(made: dict[str, str]) -> None:
    for setting in SETTINGS:
        assert re.search(
            rf"^\| `{setting.name}` \| .+`{setting.variable}` ", made["settings.md"], re.MULTILINE
        )


def test_the_reference_has_every_service_and_message(made: dict[str, str]) -> None:
    protos = (ROOT / "collective" / "rpc" / "proto" / "collective").rglob("*.proto")
    named = [
        one
        for proto in protos
        for one in re.findall(r"^(?:message|service|enum) \w+", proto.read_text(), re.MULTILINE)
    ]
    assert len(named) > 100
    assert [one for one in named if one not in made["messages.md"]] == []


# --- commands on pages ---------------------------------------------------------------------------

FOLLOWED = {
    "README.md": "tests/integration/test_readme.py",
    "docs/federation.md": "tests/integration/federation/test_page.py",
    "docs/packages.md": "tests/release/test_cutting.py",
    **dict.fromkeys(
        [
            str(one.relative_to(ROOT))
            for folder in ("start", "how-to")
            for one in sorted((DOCS / folder).glob("*.md"))
            if one.name != "index.md"
        ],
        "tests/integration/test_pages.py",
    ),
}
"""Pages whose commands are typed by a test."""
BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.is_commands]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_commands_is_run_or_says_why_not(block: Block) -> None:
    if block.reason is not None:
        assert block.reason in REASONS
    else:
        assert block.page in FOLLOWED, "run it in a test, or say why not; see tests/pages/blocks.py"


def test_every_page_that_is_said_to_be_followed_is(made: dict[str, str]) -> None:
    for page, test in FOLLOWED.items():
        assert any(one.page == page and one.reason is None for one in BLOCKS), page
        text = (ROOT / test).read_text()
        assert Path(page).name in text or f'"{Path(page).stem}"' in text, (page, test)


def test_no_reason_stands_in_the_list_for_nothing() -> None:
    assert {one.reason for one in BLOCKS} - {None} == set(REASONS)
