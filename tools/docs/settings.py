"""Every setting of ``serve``, from its declaration."""

from __future__ import annotations

from collective.core.settings import SERVE_ROLES, SETTINGS, Setting
from tools.docs.markdown import cell, code, made_from, table


def page() -> str:
    """Return the page."""
    return "\n".join(
        [
            "# Settings of serve\n",
            made_from("`collective/core/settings`"),
            (
                "Each is a key of the settings file, a flag of `collective serve` (`storage_capacity` is"
                " `--storage-capacity`) and a variable, and a flag beats a variable, which beats the file."
                " `--config` or `COLLECTIVE_CONFIG` names the file; `role` there, `--role` and"
                " `COLLECTIVE_ROLE` say what the process serves:"
                f" {', '.join(f'`{one}`' for one in SERVE_ROLES)}.\n"
            ),
            (
                "Where *reload* names a role, a running process of that role takes a change at SIGHUP"
                " (`systemctl reload`); anything else waits for the next start.\n"
            ),
            table(
                ("setting", "meaning", "default", "variable", "reload"),
                [_row(one) for one in SETTINGS],
            ),
        ]
    )


def _row(setting: Setting) -> tuple[str, ...]:
    roles = [one for one in SERVE_ROLES if setting.is_reloaded([one])]
    return (
        code(setting.name),
        cell(setting.meaning),
        cell(setting.default),
        code(setting.variable),
        ", ".join(roles),
    )
