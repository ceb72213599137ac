"""How a command connects: as whom, where to, and what it keeps of the answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from collective.cli.terminal import output
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.passphrases import key_passphrase, passphrase_of
from collective.client.collective import Collective
from collective.client.identity.config_dir import config_dir, is_exposed
from collective.client.identity.renewal import Renewer
from collective.client.identity.store import IdentityStore
from collective.client.identity.stored_logins import StoredLogins
from collective.client.logins import Login
from collective.core import open_files
from collective.core.errors import OperatorError, UsageError
from collective.core.units import Address, parse_addresses
from collective.core.world import World
from collective.pki.credentials import load_credentials
from collective.rpc.headers import operation
from collective.rpc.loops import loop_factory

if TYPE_CHECKING:
    from collective.cli.options import Invocation

T = TypeVar("T")

OPEN_FILES_LEAST: Final = 24
"""With fewer an event loop may not even begin; what needs more says so when it has none left."""
_CREDENTIALS: Final = frozenset(("ca", "cert", "key"))


class Resolved(NamedTuple):
    """Whom a command connects as, and where; and the other members that it may go to straight."""

    login: Login
    others: StoredLogins | None = None
    """None for credentials that the caller gave: a command speaks by them alone."""


def run_connected(
    invocation: Invocation, work: Callable[[Collective], Awaitable[T]], *, is_transfer: bool
) -> T:
    """Connect, do ``work`` and return what it returns."""

    async def connected_work() -> T:
        with operation(invocation.world.randomness) as request_id:
            invocation.detail(f"request_id={request_id}")
            async with connected(invocation) as collective:
                return await work(collective)

    allowed = open_files.raise_limit()
    if allowed < OPEN_FILES_LEAST:
        raise OperatorError(
            f"Only {allowed} files may be open at once here, too few to connect; allow more: ulimit -n 1024"
        )
    factory = loop_factory() if is_transfer else None  # it imports: before anything has begun
    with ending_in_order(), asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(connected_work())


@asynccontextmanager
async def connected(invocation: Invocation) -> AsyncIterator[Collective]:
    """Connect as the options say; NotJoinedError where there are no credentials."""
    login, others = await _resolve(invocation)
    async with Collective.connect(
        login,
        logins=others,
        world=invocation.world,
        links=invocation.links,
        state_dir=state_dir(os.environ),
    ) as collective:
        yield collective


async def _resolve(invocation: Invocation) -> Resolved:
    """Return credentials and addresses: explicit ones, else those of a joined collective, else the operator's.

    A flag beats a variable: with ``--collective``, the variables of credentials are for another
    member, and so is the coordinator's that stands with them.
    Where nothing is joined, whoever may read the key of the coordinator on this machine is its operator.
    Addresses: --coordinator, else where the collective is known to be; ``()`` leaves those that
    the certificate itself carries.

    Raises UsageError for flags that contradict each other, and for half of the credentials.
    """
    addresses = parse_addresses(invocation.coordinator or "")
    if "coordinator" in invocation.flags and not addresses:
        raise UsageError("--coordinator names no address; give it as HOST:PORT.")
    given = {"--ca": invocation.ca, "--cert": invocation.cert, "--key": invocation.key}
    if invocation.collective and "collective" in invocation.flags:
        if invocation.flags & _CREDENTIALS:
            raise UsageError(
                "--collective and --ca, --cert, --key name different credentials; give one or"
                " the other."
            )
        if any(given.values()) and "coordinator" not in invocation.flags:
            addresses = ()
        return await _resolve_joined(invocation, addresses)
    if invocation.ca and invocation.cert and invocation.key:
        return _of_files(invocation, (invocation.cert, invocation.key, invocation.ca), addresses)
    missing = [name for name, value in given.items() if not value]
    if len(missing) < len(given):
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"--ca, --cert and --key belong together; {' and '.join(missing)} {verb} missing."
        )
    if not invocation.collective and not open_store(invocation.world).collectives():
        from collective.cli.operators import operator_here  # noqa: PLC0415 - rarely needed
        from collective.cli.unit_files import SETTINGS_DIR  # noqa: PLC0415 - as above

        operator = operator_here(SETTINGS_DIR, invocation.world.disk)
        if operator is not None:
            invocation.detail(f"as the operator of {operator.domain}, by {operator.certificate}")
            return _of_files(
                invocation,
                (operator.certificate, operator.key, operator.ca),
                addresses or (operator.address,),
            )
    return await _resolve_joined(invocation, addresses)


def _of_files(
    invocation: Invocation, paths: tuple[str, str, str], addresses: tuple[Address, ...]
) -> Resolved:
    """Return the credentials in the files of certificate, key and CA."""
    certificate, key, ca = paths
    warn_exposed(key)
    disk = invocation.world.disk
    passphrase = key_passphrase(key, disk)
    credentials = load_credentials(certificate, key, ca, passphrase=passphrase, disk=disk)
    return Resolved(Login(credentials, addresses))


async def _resolve_joined(invocation: Invocation, given: tuple[Address, ...]) -> Resolved:
    store = open_store(invocation.world)
    chosen = store.selected(invocation.collective)
    warn_exposed(store.place.key)
    logins = StoredLogins(
        store,
        Renewer(store, invocation.world, invocation.links),
        invocation.world,
        passphrase=passphrase_of(store.place.key),
        note=invocation.detail,
    )
    return Resolved(await logins.of(chosen, given), logins)


def open_store(world: World) -> IdentityStore:
    """Return the client's configuration, which need not exist yet."""
    return IdentityStore(config_dir(os.environ), world)


def warn_exposed(key_path: str) -> None:
    """Warn where others may read a key."""
    if is_exposed(key_path):
        output.note(f"Warning: Others can read {key_path}; run: chmod 600 {key_path}")


def state_dir(environment: Mapping[str, str]) -> str:
    """Return where the client keeps notes on interrupted uploads (XDG Base Directory)."""
    base = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return os.path.join(base, "collective")
