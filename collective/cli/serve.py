"""``collective serve``: one process, one or more roles; every setting is a flag as well.

The flags come from the list of settings in ``core/settings/``, which alone knows what they mean.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.core.disk import Disk
from collective.core.settings import PREFIX, SERVE_ROLES, SETTINGS, Setting, load_settings
from collective.core.world import real_world

if TYPE_CHECKING:
    from collective.roles.runtime.lifecycle import Role, Runtime

app = typer.Typer()

START_ORDER: Final = ("coordinator", "bootstrap", "node")


def _read_file(disk: Disk, path: str) -> bytes:
    with disk.open(path, "read") as file:
        content = memoryview(bytearray(file.size_bytes()))
        return bytes(content[: file.read_into(content, 0)])


def _build(runtime: Runtime) -> Sequence[Role]:
    """Make the roles that the settings name; only their packages are imported."""
    roles: list[Role] = []
    for name in START_ORDER:
        if name not in runtime.settings.roles:
            continue
        if name == "coordinator":
            from collective.roles.coordinator.app import CoordinatorRole  # noqa: PLC0415

            roles.append(CoordinatorRole(runtime))
        elif name == "bootstrap" and "coordinator" not in runtime.settings.roles:
            from collective.roles.bootstrap.app import BootstrapRole  # noqa: PLC0415

            roles.append(BootstrapRole(runtime))
        elif name == "node":
            from collective.roles.node.app import NodeRole  # noqa: PLC0415

            roles.append(NodeRole(runtime))
    return roles


def serve(**flags: Any) -> None:
    """Run a coordinator, a node or a bootstrap listener, or several of them, until SIGTERM."""
    from collective.roles.runtime import lifecycle  # noqa: PLC0415 - heavy

    roles: list[str] = flags.pop("role") or []
    config: str | None = flags.pop("config")
    environment = dict(os.environ)
    if config:
        environment[f"{PREFIX}CONFIG"] = config
    world = real_world()
    read = partial(load_settings, roles, flags, environment, partial(_read_file, world.disk))
    raise typer.Exit(lifecycle.run(read(), _build, world, read_again=read))


def _parameters() -> list[inspect.Parameter]:
    def parameter(name: str, annotation: Any) -> inspect.Parameter:
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=None, annotation=annotation)

    role = typer.Option("--role", metavar="|".join(SERVE_ROLES), help="Repeatable.")
    config = typer.Option("--config", metavar="FILE", help=f"TOML; or {PREFIX}CONFIG.")
    found = [
        parameter("role", Annotated[list[str] | None, role]),
        parameter("config", Annotated[str | None, config]),
    ]
    for one in SETTINGS:
        flag = "--" + one.name.replace("_", "-")
        option = typer.Option(flag, metavar="VALUE", help=_help(one))
        found.append(parameter(one.name, Annotated[str | None, option]))
    return found


def _help(one: Setting) -> str:
    default = f" Default: {one.default}." if one.default else ""
    return f"{one.meaning}{default} Or {one.variable}."


serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
serve.__annotations__ = {one.name: one.annotation for one in _parameters()}
app.command()(serve)
