"""Commands that need no connection of their own, and the options that they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import typer

from collective.cli.options import with_options
from collective.core.world import World, real_world

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UnconnectedInvocation:
    """The common options of a command that needs no connection of its own."""

    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False
    world: World = field(default_factory=real_world)
    """Made here for the whole command."""


def unconnected_command(
    function: Callable[Concatenate[UnconnectedInvocation, P], T],
) -> Callable[..., T]:
    """Give ``function`` the options of a local command; for ``@app.command()``."""
    return with_options(function, UnconnectedInvocation)
