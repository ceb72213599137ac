"""``collective invite redeem``: join with nothing but a code."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.cli import output
from collective.cli.interrupts import ending_in_order
from collective.cli.options import Invocation, command
from collective.cli.passphrases import new_passphrase, passphrase_of, unseen
from collective.core.errors import UsageError
from collective.core.ids import shown_principal

if TYPE_CHECKING:
    from collective.client.identity.redemption import Redeemed
    from collective.client.identity.replacing import Standing
    from collective.core.world import World

FROM_STDIN: Final = "-"
STDIN_MAX_BYTES: Final = 64 * 1024
"""All that `invite generate` prints fits in it."""


@command
def redeem(
    invocation: Invocation,
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE",
            help="The code or its join URL; '-' reads it from stdin, which keeps it, a secret until"
            " it is used, out of 'ps' and the shell's history.",
        ),
    ],
) -> None:
    """Join the collective that an invite is for; again with the same code changes nothing.

    The code says all that is needed: options of connection are taken, as everywhere, and not used.
    """
    if code == FROM_STDIN:
        code = code_from_stdin()
    redeem_here(code, invocation.world, as_json=invocation.as_json)


def redeem_here(code: str, world: World, *, as_json: bool) -> None:
    """Redeem a code into this machine's configuration, and print what it gave."""
    from collective.cli.connecting import open_store  # noqa: PLC0415 - heavy
    from collective.client.identity.redemption import (  # noqa: PLC0415 - heavy
        parse_invite,
        redeem_invite,
    )
    from collective.rpc.tls_links import TlsLinks  # noqa: PLC0415 - heavy

    parse_invite(code)  # before anything else, and without asking anyone
    store = open_store(world)
    with ending_in_order():
        done = asyncio.run(
            redeem_invite(
                store,
                code,
                world=world,
                links=TlsLinks(world),
                passphrase=passphrase_of(store.place.key),
                new_passphrase=new_passphrase(is_wanted=False),
            )
        )
    if as_json:
        output.as_json(redeemed_json(done))
    else:
        output.lines(redeemed_lines(done))


def code_from_stdin() -> str:
    """Return the code on stdin: its last line, which is where `invite generate` prints it."""
    if sys.stdin.isatty():
        return unseen("Code: ").strip()
    given = sys.stdin.buffer.read(STDIN_MAX_BYTES).decode("utf-8", "replace")
    lines = [line.strip() for line in given.splitlines() if line.strip()]
    if not lines:
        raise UsageError("No code came on stdin; give the code that 'invite generate' printed.")
    return lines[-1]


def redeemed_json(done: Redeemed) -> dict[str, Any]:
    """Return what a redemption gave as JSON has it."""
    collective = done.collective
    return {
        "name": collective.name,
        "member_id": collective.member,
        "domain": collective.domain,
        "global_id": collective.global_id,
        "identity": str(collective.identity),
        "grants": [{"path": str(one.path), "rights": one.words} for one in collective.grants],
        "grants_expire": output.when(collective.grants_expire_ms),
        "granted_by": collective.granted_by,
        "certificate_expires": output.when(round(done.joined.certified.expires_s * 1000)),
        "coordinator_addresses": [str(one) for one in collective.coordinator_addresses],
        "new": done.is_new,
        "current": done.is_current,
        "replaced": done.aside,
    }


def redeemed_lines(done: Redeemed) -> list[str]:
    """Return what a redemption gave, for people: what, until when, by whom, and what to do."""
    collective = done.collective
    verb = "Joined" if done.is_new else "You are in"
    lines = [f"{verb} {collective.name} ({collective.domain}) as {collective.global_id}."]
    is_device = not collective.grants and collective.granted_by == str(collective.identity)
    if is_device:
        who = collective.global_id
        lines.append(f"This machine is now a further device of {who} and may do what {who} may.")
    for number, grant in enumerate(collective.grants):
        rights = "+".join(grant.words)
        lines.append(f"{'' if number else 'Granted':<12} {grant.path}: {rights}")
    if not collective.grants and not is_device:
        lines.append(f"{'Granted':<12} nothing yet; what you may do is shown by: collective status")
    if not is_device:
        until = output.moment(collective.grants_expire_ms)
        lines.append(f"{'Until':<12} {until or 'it is taken back'}")
    if collective.granted_by and not is_device:
        lines.append(f"{'By':<12} {shown_principal(collective.granted_by)}")
    if done.identity and str(done.identity.global_id) != collective.global_id:
        lines.append(
            f"{'Note':<12} you are {done.identity.global_id} elsewhere, and"
            f" {collective.global_id} here."
        )
    if done.aside:
        lines.append(
            f"{'Note':<12} its CA was replaced since this machine joined it before; what was kept of"
            f" that lies in {done.aside}"
        )
    if done.rival:
        lines.append(f"{'Note':<12} {_rival_text(done.rival, collective.name)}")
    if done.is_current:
        lines.append("It is your current collective; try: collective status")
    else:
        lines.append(f"To use it: collective identity switch {collective.name}")
    return lines


def _rival_text(rival: tuple[str, Standing], name: str) -> str:
    """Return what to know of another collective here that says the same of itself."""
    from collective.client.identity.replacing import Standing  # noqa: PLC0415 - heavy

    other, standing = rival
    if standing is Standing.LIVE:
        return (
            f"{other}, which you have joined before, says that it is the same member, and still"
            f" answers: {name} is another, so make sure who invited you."
        )
    return (
        f"{other}, which you have joined before, says that it is the same member, but does not"
        f" answer now; if {name} has taken its place, run: collective identity leave {other}"
    )
