"""``collective systemd``: units for the processes of a member, made from their settings."""

from __future__ import annotations

import os
import posixpath
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.own_command import own_command
from collective.cli.setup.placing import Place
from collective.cli.terminal import output
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command
from collective.cli.unit_files import (
    SETTINGS_DIR,
    UNIT_DIR,
    UnitPlan,
    check_name,
    default_name,
    plan_of,
    unit_text,
)
from collective.core.disk import Disk
from collective.core.errors import NotFoundError, OperatorError, SettingsError, UsageError
from collective.core.settings import SERVE_ROLES, ServeSettings, file_settings
from collective.core.small_files import read_small, write_atomically

if TYPE_CHECKING:
    from collective.cli.json_shapes import UnitJson

app = typer.Typer(no_args_is_help=True, help="Units of systemd, which keep a member running.")

_HIDDEN: Final = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - compared
"""What the units hide from the process: ProtectHome=, PrivateTmp=."""
_UNIT_MODE: Final = 0o644


@app.callback()
def _group() -> None:
    """Units of systemd, which keep a member running."""


@app.command()
@unconnected_command
def install(
    invocation: UnconnectedInvocation,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="|".join(SERVE_ROLES), help="Repeatable; else the file's."),
    ] = None,
    name: Annotated[
        str,
        typer.Option("--name", metavar="NAME", help="Of unit and settings; default: the role."),
    ] = "",
    config: Annotated[
        str,
        typer.Option("--config", metavar="FILE", help=f"Default: {SETTINGS_DIR}/NAME.toml."),
    ] = "",
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the unit and install nothing.")
    ] = False,
    unit_dir: Annotated[
        str, typer.Option("--unit-dir", metavar="FOLDER", help="Where units lie.")
    ] = UNIT_DIR,
) -> None:
    """Write the unit of one process, hardened, and say how to start it; again to update it."""
    roles = role or []
    for one in roles:
        if one not in SERVE_ROLES:
            raise UsageError(f"There is no role {one!r}; roles are {', '.join(SERVE_ROLES)}.")
    name = check_name(name or _name(roles, config))
    path = posixpath.abspath(config or f"{SETTINGS_DIR}/{name}.toml")
    plan = _plan(roles, name, path, invocation.world.disk, is_needed=not print_only)
    text = unit_text(plan)
    _mind_sight(plan, invocation.world.disk, print_only=print_only)
    if print_only and not invocation.as_json:
        output.lines(text.splitlines())
        return
    target = posixpath.join(posixpath.abspath(unit_dir), plan.unit)
    if not print_only:
        _write(target, text, invocation.world.disk)
    commands = _next_commands(plan)
    if invocation.as_json:
        told: UnitJson = {
            "unit": plan.unit,
            "path": target,
            "installed": not print_only,
            "settings": plan.settings_file,
            "state_dir": plan.state_dir,
            "folders": list(plan.folders),
            "code_file": plan.code_file,
            "text": text,
            "next": commands,
        }
        output.as_json(told)
        return
    output.line(f"Unit         {target}")
    output.line(f"Settings     {plan.settings_file}")
    output.line(f"State        {plan.state_dir}, of the user {plan.user}")
    for folder in plan.folders:
        output.line(f"Also         {folder}, given to that user")
    if plan.code_file is not None:
        output.line(f"Join code    {plan.code_file} (0600), needed once")
    output.line("Next")
    output.lines(f"  {one}" for one in commands)


def _name(roles: Sequence[str], config: str) -> str:
    if roles:
        return default_name(roles)
    if config:
        return Place.of(config).name
    raise UsageError("Say which process: --role coordinator, node or bootstrap, or --config FILE.")


def _plan(roles: Sequence[str], name: str, path: str, disk: Disk, *, is_needed: bool) -> UnitPlan:
    """Return the plan of the settings file; without one, where that may be, of its role alone."""
    if disk.exists(path):
        settings = _settings(roles, path, disk)
    elif is_needed:
        raise NotFoundError(
            f"{path} does not exist; make it first: collective init --output {path}"
        )
    elif not roles:
        raise UsageError(f"{path} does not exist; give --role, or another --config.")
    else:
        settings = ServeSettings(roles=frozenset(one for one in SERVE_ROLES if one in roles))
    command = own_command()
    return plan_of(
        settings,
        name=name,
        command=command,
        settings_file=path,
        is_single_file=_is_single_file(command),
    )


def _is_single_file(command: tuple[str, ...]) -> bool:
    """Tell whether the command is a one-file package, which says where it lies (pex)."""
    told = os.environ.get("PEX", "")
    return bool(told) and (os.path.abspath(told),) == command


def _settings(roles: Sequence[str], path: str, disk: Disk) -> ServeSettings:
    """Return the settings of a file, which alone says the roles: the unit's process is told no others."""
    read = partial(read_small, disk=disk)
    try:
        settings = file_settings(path, read)
    except SettingsError as error:
        if not roles:
            raise
        file_settings(path, read, roles)  # another fault than that it says none
        line = " ".join(roles)
        raise SettingsError(f'{path} says no role; add the line: role = "{line}"') from error
    if roles and set(roles) != settings.roles:
        its = " and ".join(one for one in SERVE_ROLES if one in settings.roles)
        raise UsageError(
            f"{path} is of another role, {its}; leave --role out, or give another --config."
        )
    return settings


def _mind_sight(plan: UnitPlan, disk: Disk, *, print_only: bool) -> None:
    """Refuse a program, a settings file or a folder that the unit's process could not see."""
    for text in _out_of_sight(plan, disk):
        if not print_only:
            raise OperatorError(text)
        output.note(f"Warning: {text}")


def _out_of_sight(plan: UnitPlan, disk: Disk) -> Iterator[str]:
    unpacked = () if plan.is_single_file else (sys.prefix,)
    for place in (plan.command[0], *unpacked):
        if _is_hidden(place):
            yield (
                f"{place} lies where the unit's process sees nothing; install with:"
                " make install PREFIX=/opt/collective BINDIR=/usr/local/bin"
            )
            break
    if _is_hidden(plan.settings_file):
        yield (
            f"{plan.settings_file} lies where the unit's process sees nothing; move it to"
            f" {SETTINGS_DIR}/{plan.name}.toml, and run this again without --config."
        )
    elif disk.exists(plan.settings_file) and (shut := _shut_on_the_way(plan.settings_file)):
        yield (
            f"{shut} is not open to the unit's user, who reads {plan.settings_file}; say:"
            f" chmod a+rX {shlex.quote(shut)}"
        )
    for folder in plan.folders:
        if _is_hidden(folder):
            yield (
                f"The folder {folder} lies where the unit's process sees nothing; name another in"
                f" {plan.settings_file}, or none: then it is in {plan.state_dir}."
            )


def _is_hidden(place: str) -> bool:
    return f"{place}/".startswith(_HIDDEN)


def _shut_on_the_way(path: str) -> str | None:
    """Return what keeps everybody from reading the file at ``path``: itself, or a folder on the way."""
    there = path
    while there != "/":
        there = posixpath.dirname(there)
        if not os.stat(there).st_mode & stat.S_IXOTH:
            return there
    return None if os.stat(path).st_mode & stat.S_IROTH else path


def _write(target: str, text: str, disk: Disk) -> None:
    if disk.exists(target) and not _is_ours(target, disk):
        raise OperatorError(
            f"{target} was not made by this command; move it away, or give another --name."
        )
    write_atomically(target, text.encode(), permissions=_UNIT_MODE, disk=disk)


def _is_ours(target: str, disk: Disk) -> bool:
    return read_small(target, disk=disk).startswith(b"# Made by collective ")


def _next_commands(plan: UnitPlan) -> list[str]:
    return [
        "systemctl daemon-reload",
        f"systemctl enable --now {plan.unit}",
        f"collective doctor --config {plan.settings_file}",
    ]
