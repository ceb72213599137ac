"""The settings file that ``init`` and ``join`` write: what was chosen, and every other setting as a comment.

Pure.  What each setting means stands in ``core.settings`` alone.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from collective import __version__
from collective.core.settings import SETTINGS, Setting

_WIDTH: Final = 98
_CODE: Final = "join_code"
"""Never in a file that everybody may read."""


def settings_text(roles: Sequence[str], chosen: Mapping[str, str], command: str) -> str:
    """Return the file.

    Args:
        roles: What the process serves.
        chosen: Name of a setting to its value, as people write it.
        command: By which it was made.
    """
    told = json.dumps(roles[0] if len(roles) == 1 else list(roles))
    lines = [
        f"# Made by collective {__version__}: {command}",
        "# What begins with '# ' and a name is a default; take the '# ' away to change it.  Every setting",
        "# is a flag of `collective serve` and a variable as well.  Where it says (reload), a running",
        "# process takes a change at `systemctl reload`, or SIGHUP; else at its next start.",
        f"role = {told}",
        "",
    ]
    for setting in SETTINGS:
        if setting.name != _CODE and (
            setting.name in chosen or not setting.roles.isdisjoint(roles)
        ):
            lines += _lines(setting, chosen.get(setting.name), roles)
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(setting: Setting, value: str | None, roles: Sequence[str]) -> list[str]:
    meaning = setting.meaning + (" (reload)" if setting.is_reloaded(roles) else "")
    lines = textwrap.wrap(meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    if value is not None:
        lines.append(f"{setting.name} = {toml_value(value)}")
    elif setting.otherwise is None:
        lines.append(f"# {setting.name} = {toml_value(setting.default)}")
    else:
        lines.append(f"# {setting.name} =" + (f" {setting.otherwise}" if setting.otherwise else ""))
    return [*lines, ""]


def toml_value(text: str) -> str:
    """Return ``text`` as a TOML value: a string, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
