"""Options that every command has after its name, and the connection that they describe."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from collective.core.errors import NotJoinedError, UsageError
from collective.core.units import parse_addresses

if TYPE_CHECKING:
    from collective.client.collective import Collective

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what happens to stderr.")
    ] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Collective]:
        """Connect as the options say; NotJoinedError where there are no credentials."""
        from collective.client.collective import Collective  # noqa: PLC0415 - heavy
        from collective.pki.files import load_credentials  # noqa: PLC0415 - heavy

        self._set_up_logs()
        given = {"--ca": self.ca, "--cert": self.cert, "--key": self.key}
        if not (self.ca and self.cert and self.key):
            missing = " and ".join(name for name, value in given.items() if not value)
            if any(given.values()):
                raise UsageError(f"--ca, --cert and --key belong together; {missing} is missing.")
            if self.collective:
                raise NotJoinedError(
                    f"No collective {self.collective!r} is joined here; give --ca, --cert and"
                    " --key (a certificate comes from 'collective pki issue')."
                )
            raise NotJoinedError(
                "This machine has joined no collective; give --ca, --cert and --key (a"
                " certificate comes from 'collective pki issue')."
            )
        credentials = load_credentials(self.cert, self.key, self.ca)
        addresses = parse_addresses(self.coordinator or "")
        async with Collective.connect(
            credentials, addresses, state_dir=state_dir(os.environ)
        ) as collective:
            yield collective

    def run(self, work: Callable[[Collective], Awaitable[T]], *, is_transfer: bool = False) -> T:
        """Connect, do ``work`` and return what it returns; transfers use uvloop if there is one."""
        from collective.rpc.context import operation  # noqa: PLC0415 - heavy

        async def connected_work() -> T:
            with operation() as request_id:
                if self.verbose:
                    sys.stderr.write(f"request_id={request_id}\n")
                async with self.connected() as collective:
                    return await work(collective)

        with asyncio.Runner(loop_factory=_fast_loop() if is_transfer else None) as runner:
            return runner.run(connected_work())

    def _set_up_logs(self) -> None:
        import logging  # noqa: PLC0415 - only where there is a connection

        import structlog  # noqa: PLC0415 - heavy

        level = logging.DEBUG if self.verbose else logging.CRITICAL
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def command(
    function: Callable[Concatenate[Invocation, P], T],
) -> Callable[..., T]:
    """Return ``function`` with the common options added to its own; for ``@app.command()``."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    common = inspect.get_annotations(Invocation, eval_str=True)
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters.extend(
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=common[field.name],
        )
        for field in fields(Invocation)
    )

    @functools.wraps(function)
    def wrapper(**values: Any) -> T:
        invocation = Invocation(**{name: values.pop(name) for name in common})
        return function(invocation, **values)  # type: ignore[call-arg]

    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


def state_dir(environment: os._Environ[str] | dict[str, str]) -> str:
    """Return where the client keeps notes on interrupted uploads (XDG Base Directory)."""
    base = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME") or "/tmp",  # noqa: S108 - a machine without HOME has no better place
        ".local",
        "state",
    )
    return os.path.join(base, "collective")


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional at run time
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
