"""``collective invite redeem``: join with nothing but a code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collective.cli.code_input import CodeArgument, CodeFileOption, code_given, require_for
from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.passphrases import new_passphrase, passphrase_of
from collective.core.ids import shown_principal

if TYPE_CHECKING:
    from collective.cli.json_shapes import RedeemedJson
    from collective.client.identity.redemption import Redeemed
    from collective.client.identity.replacing import Standing
    from collective.core.world import World
    from collective.pki.invite_code import InviteCode


@command
def redeem(
    invocation: Invocation,
    code: CodeArgument = None,
    file: CodeFileOption = None,
) -> None:
    """Join the collective that an invite is for; again with the same code changes nothing.

    The code says all that is needed: options of connection are taken, as everywhere, and not used.
    """
    found = code_given(code, file, invocation.world.disk)
    require_for(found, "a person")
    redeem_here(found, invocation.world, as_json=invocation.as_json)


def redeem_here(code: InviteCode, world: World, *, as_json: bool) -> None:
    """Redeem a code into this machine's configuration, and print what it gave."""
    from collective.cli.connecting import open_store  # noqa: PLC0415 - heavy
    from collective.client.identity.redemption import redeem_invite  # noqa: PLC0415 - heavy
    from collective.rpc.tls_links import TlsLinks  # noqa: PLC0415 - heavy

    store = open_store(world)
    with ending_in_order():
        done = asyncio.run(
            redeem_invite(
                store,
                code.encode(),
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


def redeemed_json(done: Redeemed) -> RedeemedJson:
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
        lines.append(
            f"{'Paths':<12} /@{collective.domain}/… goes straight there from now on, as"
            f" {collective.global_id}; grants to you through another member do not count there"
        )
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
