"""A finding: one thing that was looked at, what was seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from collective.cli.terminal import output
from collective.core.errors import ExitCode

if TYPE_CHECKING:
    from collective.cli.json_shapes import FindingJson


class Level(Enum):
    """How bad it is; the value is the word of JSON."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


_SHOWN: Final = {Level.OK: "ok", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM"}
_WIDTH: Final = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """What was looked at: stable, for scripts."""
    level: Level
    says: str
    """One sentence."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    exit_code: ExitCode = ExitCode.DONE
    """How the command ends because of it."""

    def as_json(self) -> FindingJson:
        """Return it as JSON has it."""
        return {
            "check": self.check,
            "level": self.level.value,
            "says": self.says,
            "advice": self.advice,
            "exit_code": int(self.exit_code),
        }


def fine(check: str, says: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, says)


def warning(check: str, says: str, advice: str) -> Finding:
    """Return what may be wrong, or will be; the command still ends with 0."""
    return Finding(check, Level.WARNING, says, advice)


def problem(check: str, says: str, advice: str, exit_code: ExitCode = ExitCode.FAILURE) -> Finding:
    """Return what is wrong; the command ends with ``exit_code``."""
    return Finding(check, Level.PROBLEM, says, advice, exit_code)


def exit_code_of(findings: Iterable[Finding]) -> ExitCode:
    """Return that of the first problem, else 0: checks stand in the order in which causes come first."""
    return next((one.exit_code for one in findings if one.level is Level.PROBLEM), ExitCode.DONE)


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Return findings for people: what is wrong with what to do below it."""
    lines = []
    for one in findings:
        lines.append(f"{_SHOWN[one.level]:<{_WIDTH}} {one.check}: {one.says}")
        if one.advice:
            lines.append(f"{'':<{_WIDTH}} -> {one.advice}")
    return lines


def print_findings(findings: Sequence[Finding], *, with_fine: bool) -> None:
    """Print findings; without ``with_fine`` only what needs attention."""
    shown = [one for one in findings if with_fine or one.level is not Level.OK]
    output.lines(finding_lines(shown))
