"""The lab is left out, with one line, where no hosts can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.houses import Lab, running_lab
from tests.lab.network import why_not

LIVE: pytest.StashKey[list[Lab]] = pytest.StashKey()
FIGURES: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Three members that have peered, 40 ms and 1 % of loss from each other."""
    if reason := why_not():
        pytest.skip(f"hosts of their own for members: {reason}")
    with running_lab(tmp_path_factory.mktemp("lab")) as made:
        live = request.session.stash.setdefault(LIVE, [])
        live.append(made)
        yield made
        live.remove(made)
        request.config.stash.setdefault(FIGURES, []).extend(made.figures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        for made in item.session.stash.get(LIVE, []):
            report.sections.append(("logs of the members", made.logs()))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was measured, which no test judges."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("measured in the lab")
        for line in figures:
            terminalreporter.line(line)
