"""Options that every command has after its name.

Light, since help loads it for every command; what is behind a connection is in ``connecting.py``.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import typer

from collective.core.loading import loading
from collective.core.world import World, real_world

if TYPE_CHECKING:
    from collective.cli.terminal.style import Style
    from collective.client.collective import Collective
    from collective.rpc.links import Links

P = ParamSpec("P")
T = TypeVar("T")
_FLAGS: Final = "flags"
"""The field of an invocation that says which options were given as flags."""
_WORLD: Final = "world"
"""The field of an invocation that is no option."""
_GIVEN: Final = "given"
"""The attribute of a function that says what its common options make."""
_CONTEXT: Final = "called"
"""The parameter by which a command gets the option parser's context."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Invocation:
    """What the common options of one command said."""

    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            envvar="COLLECTIVE_COORDINATOR",
            metavar="HOST:PORT",
            help="Where the coordinator is; several are tried in turn.",
        ),
    ] = None
    collective: Annotated[
        str | None,
        typer.Option(
            "--collective",
            envvar="COLLECTIVE_CURRENT",
            metavar="NAME",
            help="Which joined collective.",
        ),
    ] = None
    ca: Annotated[
        str | None,
        typer.Option("--ca", envvar="COLLECTIVE_CA", metavar="FILE", help="The member's CA."),
    ] = None
    cert: Annotated[
        str | None,
        typer.Option("--cert", envvar="COLLECTIVE_CERT", metavar="FILE", help="Your certificate."),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="COLLECTIVE_KEY", metavar="FILE", help="Its key."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False
    flags: frozenset[str] = frozenset()
    """Which of these were given on the command line, by name; the rest are variables, or unset."""
    world: World = field(default_factory=real_world)
    """Made here for the whole command."""

    @property
    def links(self) -> Links:
        """How the command reaches others."""
        from collective.rpc.tls_links import TlsLinks  # noqa: PLC0415 - not for help

        return TlsLinks(self.world)

    @property
    def style(self) -> Style:
        """What the terminal can show."""
        from collective.cli.terminal.style import Style  # noqa: PLC0415 - not for help

        return Style.of_stdout(os.environ, no_color=self.no_color)

    def detail(self, text: str) -> None:
        """Say something on stderr that only -v asks for."""
        if self.verbose:
            from collective.cli.terminal import output  # noqa: PLC0415 - only where it is said

            output.note(text)

    def run(self, work: Callable[[Collective], Awaitable[T]], *, is_transfer: bool = False) -> T:
        """Connect, do ``work`` and return what it returns; transfers use uvloop if there is one."""
        with loading():
            from collective.cli.connecting import run_connected  # noqa: PLC0415 - not for help

        return run_connected(self, work, is_transfer=is_transfer)


def command(
    function: Callable[Concatenate[Invocation, P], T],
) -> Callable[..., T]:
    """Give ``function`` the common options beside its own; for ``@app.command()``."""
    return with_options(function, Invocation)


def with_options(function: Callable[..., T], given: type[Any]) -> Callable[..., T]:
    """Note that ``function`` takes a ``given``, whose fields are options; see :func:`completed`."""
    vars(function)[_GIVEN] = given
    return function


def completed(function: Callable[..., T]) -> Callable[..., T]:
    """Return ``function`` as the option parser sees it: with the options that were noted.

    Done for a command that is called or explained, and for no other of its module.
    """
    given = vars(function).get(_GIVEN)
    if given is None:
        return function
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    common = inspect.get_annotations(given, eval_str=True)
    common.pop(_FLAGS, None)
    common.pop(_WORLD)
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters.extend(
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=common[one.name],
        )
        for one in fields(given)
        if one.name in common
    )
    context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters.append(context)
    has_flags = any(one.name == _FLAGS for one in fields(given))

    @functools.wraps(function)
    def wrapper(**values: Any) -> T:
        called: typer.Context = values.pop(_CONTEXT)
        chosen = {name: values.pop(name) for name in common}
        if has_flags:
            chosen[_FLAGS] = frozenset(name for name in common if _is_flag(called, name))
        return function(given(**chosen), **values)

    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


def _is_flag(called: typer.Context, name: str) -> bool:
    """Tell whether the option ``name`` stood on the command line."""
    source = called.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
