"""Redeeming an invite into the store: the one command by which a person joins.

A typing error is found before anything is sent.  The key is durable before the code is redeemed, and
the same key redeeming the same code gets the same answer, so a crash at any point costs nothing: run
the same command again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from collective.client import joining
from collective.client.identity.documents import Identity, JoinedCollective
from collective.client.identity.replacing import Ask, Standing, standing_of
from collective.client.identity.store import IdentityStore, Passphrase
from collective.client.joining import Joined
from collective.core.clock import Clock
from collective.core.errors import RejectedError, UsageError
from collective.core.world import World
from collective.pki import invite_code
from collective.pki.invite_code import InviteCode
from collective.rpc.links import Links

ANY_WISH: Final = "@"
"""What a machine without an identity asks for: a person, whom the coordinator names."""


class Redeem(Protocol):
    """``client.joining.redeem``."""

    async def __call__(
        self,
        code: InviteCode,
        key: ec.EllipticCurvePrivateKey,
        *,
        links: Links,
        clock: Clock,
        wish: str = "",
        display_name: str = "",
    ) -> Joined:
        """Redeem the code for a certificate for the key."""
        ...


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a redemption gave, as it is now on disk."""

    collective: JoinedCollective
    joined: Joined
    identity: Identity | None
    is_new: bool
    """False where this member had been joined before."""
    is_current: bool
    aside: str | None = None
    """The folder that has what was joined of this member before, under a CA that it no longer has."""
    rival: tuple[str, Standing] | None = None
    """Another collective here that says the same of itself, and what became of it."""


def parse_invite(text: str) -> InviteCode:
    """Return the code in ``text``; UsageError, found without asking anyone, if it is mistyped."""
    try:
        return invite_code.parse(text)
    except UsageError as error:
        raise UsageError(f"Invalid invite code: {_lower_first(error.message)}") from error


async def redeem_invite(
    store: IdentityStore,
    text: str,
    *,
    world: World,
    links: Links,
    passphrase: Passphrase,
    new_passphrase: bytes | None = None,
    redeem: Redeem = joining.redeem,
    standing: Ask | None = None,
) -> Redeemed:
    """Redeem the invite in ``text`` (code or join URL) and keep what it gives.

    Args:
        store: gets the collective, and the identity where there is none yet.
        text: as it was copied.
        world: for the validity of what is shown and given, and for blocking work.
        links: over which the bootstrap is reached.
        passphrase: gives that of a key that exists.
        new_passphrase: for a key that has to be made; None leaves it plain.
        redeem: how; tests put their own.
        standing: what became of a collective that says the same of itself; tests put their own.

    Raises:
        UsageError: the code is mistyped, or the passphrase wrong.
        UnreachableError, RejectedError, PermissionDeniedError, ConflictError: as ``joining.redeem``.

    Cancellation and crashes may leave a use counted; redeeming again costs none.
    """
    code = parse_invite(text)
    run = world.threads.run
    key = await run(store.key_for_joining, passphrase, new_passphrase)
    identity = await run(store.identity)
    joined = await redeem(
        code,
        key,
        links=links,
        clock=world.clock,
        wish=str(identity.global_id) if identity else ANY_WISH,
        display_name=identity.display_name if identity else "",
    )
    if joined.identity.role != "user":
        raise RejectedError(
            f"The code gave a certificate of a {joined.identity.role}, which is of no use to a"
            " person; ask for an invite for a user."
        )
    known = {
        one: await (standing or _asking(store, world, links))(one, joined)
        for one in await run(store.rivals, joined)
    }
    replaces = [one for one, found in known.items() if found is Standing.REPLACED]
    recorded = await run(store.record, joined, code.addresses, replaces=replaces)
    others = [(one.name, found) for one, found in known.items() if one not in replaces]
    return Redeemed(
        collective=recorded.collective,
        joined=joined,
        identity=await run(store.identity),
        is_new=recorded.is_new,
        is_current=recorded.is_current,
        aside=recorded.aside,
        rival=others[0] if others else None,
    )


def _asking(store: IdentityStore, world: World, links: Links) -> Ask:
    async def ask(known: JoinedCollective, joined: Joined) -> Standing:
        authorities = await world.threads.run(store.authorities, known)
        return await standing_of(known, joined, authorities, links, world.clock)

    return ask


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
