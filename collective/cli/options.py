"""Options that every command has after its name, and the connection that they describe."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import typer

from collective.cli.passphrases import key_passphrase, passphrase_of
from collective.core.errors import UsageError
from collective.core.units import Address, parse_addresses
from collective.core.world import World, real_world
from collective.rpc.loops import loop_factory

if TYPE_CHECKING:
    from collective.client.collective import Collective
    from collective.client.identity.store import IdentityStore
    from collective.pki.credentials import Credentials
    from collective.rpc.links import Links

P = ParamSpec("P")
T = TypeVar("T")
_CREDENTIALS: Final = frozenset(("ca", "cert", "key"))
_FLAGS: Final = "flags"
"""The field of an invocation that says which options were given as flags."""
_WORLD: Final = "world"
"""The field of an invocation that is no option."""
_CONTEXT: Final = "called"
"""The parameter by which a command gets the option parser's context."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a command connects as, and where."""

    credentials: Credentials
    addresses: tuple[Address, ...]
    follow: Callable[[bytes], Awaitable[object]] | None = None
    """Takes a new CA, by the SHA-256 of its key; None for files that the caller keeps himself."""


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
    flags: frozenset[str] = frozenset()
    """Which of these were given on the command line, by name; the rest are variables, or unset."""
    world: World = field(default_factory=real_world)
    """Made here for the whole command."""

    @property
    def links(self) -> Links:
        """How the command reaches others."""
        from collective.rpc.tls_links import TlsLinks  # noqa: PLC0415 - heavy

        return TlsLinks(self.world)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Collective]:
        """Connect as the options say; NotJoinedError where there are no credentials."""
        from collective.client.collective import Collective  # noqa: PLC0415 - heavy

        self._set_up_logs()
        source = await self._resolve()
        async with Collective.connect(
            source.credentials,
            source.addresses,
            world=self.world,
            links=self.links,
            state_dir=state_dir(os.environ),
        ) as collective:
            yield collective
            if source.follow is not None and collective.newest_authority:
                await source.follow(collective.newest_authority)

    async def _resolve(self) -> Resolved:
        """Return credentials and addresses: explicit ones, else those of a joined collective.

        A flag beats a variable: with ``--collective``, the variables of credentials are for another
        member, and so is the coordinator's that stands with them.
        Addresses: --coordinator, else where the collective is known to be; ``()`` leaves those that
        the certificate itself carries.

        Raises UsageError for flags that contradict each other, and for half of the credentials.
        """
        addresses = parse_addresses(self.coordinator or "")
        given = {"--ca": self.ca, "--cert": self.cert, "--key": self.key}
        if self.collective and "collective" in self.flags:
            if self.flags & _CREDENTIALS:
                raise UsageError(
                    "--collective and --ca, --cert, --key name different credentials; give one or"
                    " the other."
                )
            if any(given.values()) and "coordinator" not in self.flags:
                addresses = ()
            return await self._resolve_joined(addresses)
        if self.ca and self.cert and self.key:
            from collective.pki.credentials import load_credentials  # noqa: PLC0415 - heavy

            warn_exposed(self.key)
            disk = self.world.disk
            credentials = load_credentials(
                self.cert,
                self.key,
                self.ca,
                passphrase=key_passphrase(self.key, disk),
                disk=disk,
            )
            return Resolved(credentials, addresses)
        missing = [name for name, value in given.items() if not value]
        if len(missing) < len(given):
            verb = "is" if len(missing) == 1 else "are"
            raise UsageError(
                f"--ca, --cert and --key belong together; {' and '.join(missing)} {verb} missing."
            )
        return await self._resolve_joined(addresses)

    async def _resolve_joined(self, given: tuple[Address, ...]) -> Resolved:
        from collective.client.identity.renewal import Renewer  # noqa: PLC0415 - heavy

        store = open_store(self.world)
        chosen = store.selected(self.collective)
        warn_exposed(store.place.key)
        credentials = store.credentials(chosen, passphrase_of(store.place.key))
        renewer = Renewer(store, self.world, self.links)
        credentials = await renewer.fresh(chosen, credentials, given, self.detail)
        chosen = store.find(chosen.name)

        async def follow(newest: bytes) -> object:
            return await renewer.follow(chosen, credentials, given, newest, self.detail)

        return Resolved(credentials, given or chosen.coordinator_addresses, follow)

    def detail(self, text: str) -> None:
        """Say something on stderr that only -v asks for."""
        if self.verbose:
            from collective.cli import output  # noqa: PLC0415 - only where it is said

            output.note(text)

    def run(self, work: Callable[[Collective], Awaitable[T]], *, is_transfer: bool = False) -> T:
        """Connect, do ``work`` and return what it returns; transfers use uvloop if there is one."""
        from collective.rpc.context import operation  # noqa: PLC0415 - heavy

        async def connected_work() -> T:
            with operation(self.world.randomness) as request_id:
                if self.verbose:
                    sys.stderr.write(f"request_id={request_id}\n")
                async with self.connected() as collective:
                    return await work(collective)

        with asyncio.Runner(loop_factory=loop_factory() if is_transfer else None) as runner:
            return runner.run(connected_work())

    def _set_up_logs(self) -> None:
        import logging  # noqa: PLC0415 - only where there is a connection

        import structlog  # noqa: PLC0415 - heavy

        from collective.core.terminal import escaped_log  # noqa: PLC0415 - for logs alone

        level = logging.DEBUG if self.verbose else logging.CRITICAL
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                escaped_log,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not self.no_color),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


@dataclass(frozen=True, slots=True)
class LocalInvocation:
    """The common options of a command that needs no connection of its own."""

    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what happens to stderr.")
    ] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False
    world: World = field(default_factory=real_world)
    """Made here for the whole command."""


def command(
    function: Callable[Concatenate[Invocation, P], T],
) -> Callable[..., T]:
    """Return ``function`` with the common options added to its own; for ``@app.command()``."""
    return _with_options(function, Invocation)


def local_command(
    function: Callable[Concatenate[LocalInvocation, P], T],
) -> Callable[..., T]:
    """Return ``function`` with the options of a local command added; for ``@app.command()``."""
    return _with_options(function, LocalInvocation)


def _with_options(function: Callable[..., T], given: type[Any]) -> Callable[..., T]:
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


def open_store(world: World) -> IdentityStore:
    """Return the client's configuration, which need not exist yet."""
    from collective.client.identity.place import config_dir  # noqa: PLC0415 - keeps help fast
    from collective.client.identity.store import IdentityStore  # noqa: PLC0415 - heavy

    return IdentityStore(config_dir(os.environ), world)


def warn_exposed(key_path: str) -> None:
    """Warn where others may read a key."""
    from collective.client.identity.place import is_exposed  # noqa: PLC0415 - keeps help fast

    if is_exposed(key_path):
        from collective.cli import output  # noqa: PLC0415 - only where it is said

        output.note(f"Warning: Others can read {key_path}; run: chmod 600 {key_path}")


def state_dir(environment: os._Environ[str] | dict[str, str]) -> str:
    """Return where the client keeps notes on interrupted uploads (XDG Base Directory)."""
    base = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return os.path.join(base, "collective")
