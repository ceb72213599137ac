"""A client's side: joined or not, its certificate, what answers where its member should, and its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.cli.diagnosis import machine, member
from collective.cli.diagnosis.certificates import validity
from collective.cli.diagnosis.findings import Finding, Level, fine, problem, warning
from collective.cli.diagnosis.listeners import coordinator_at
from collective.client.collective import Collective
from collective.client.identity.documents import JoinedCollective
from collective.client.identity.store import IdentityStore
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import (
    CollectiveError,
    ExitCode,
    NotJoinedError,
    RejectedError,
    UsageError,
)
from collective.core.units import Address
from collective.pki import pem_files
from collective.pki.certificates import describe
from collective.pki.invite_code import InviteCode, parse
from collective.rpc.client import probing
from collective.rpc.client.probing import Answer
from collective.rpc.links import Links

NOT_JOINED: Final = problem(
    "joined",
    "Nothing is joined on this machine, and every call needs a certificate: without one a connection"
    ' ends at once ("connection refused", "EOF").',
    "join via invite: collective invite redeem CODE (or collective join CODE)",
    ExitCode.NOT_REACHABLE,
)


def joined(
    store: IdentityStore, wanted: str | None, now_s: float, disk: Disk
) -> tuple[list[Finding], JoinedCollective | None]:
    """Look at what this machine has joined, and at its certificate."""
    try:
        chosen = store.selected(wanted)
    except NotJoinedError as error:
        if not store.collectives():
            return [NOT_JOINED], None
        advice = "choose one: collective identity switch NAME"
        return [problem("joined", error.message, advice, ExitCode.NOT_REACHABLE)], None
    except CollectiveError as error:
        return [
            problem(
                "joined", error.message, "collective identity list-collectives", error.exit_code
            )
        ], None
    found = [fine("joined", f"{chosen.name} ({chosen.domain}) is joined, as {chosen.global_id}.")]
    renew = (
        "use any command while its bootstrap answers: it renews by itself for 90 days after its end;"
        " else ask for a new invitation"
    )
    try:
        certificate = pem_files.load_certificate_file(
            store.place.certificate(chosen.name), disk=disk
        )
    except CollectiveError as error:
        return [*found, problem("certificate", error.message, renew, ExitCode.CORRUPT)], chosen
    return [*found, *validity("You", describe(certificate), now_s=now_s, renew=renew)], chosen


async def member_at(
    addresses: Sequence[Address],
    bootstraps: Sequence[Address],
    domain: str,
    *,
    links: Links,
    clock: Clock,
) -> list[Finding]:
    """Look at what answers where the coordinator of ``domain`` should, and compare clocks."""
    compared = await machine.skew(
        clock.wall_s() * 1000, f"the bootstrap of {domain}", bootstraps, links
    )
    found = [] if compared is None else [compared]
    looks = [await coordinator_at(address, domain) for address in addresses]
    if any(one.level is Level.OK for one in looks):  # one way is enough
        looks = [_lessened(one) for one in looks]
    return [*found, *looks]


def _lessened(one: Finding) -> Finding:
    """Return a problem as a warning: another address answers."""
    return warning(one.check, one.says, one.advice) if one.level is Level.PROBLEM else one


def refused(error: CollectiveError, name: str) -> Finding:
    """Return what it means that the member does not answer this machine's call."""
    advice = "do what it says"
    if isinstance(error, RejectedError) and "another CA" in error.message:
        advice = (
            "if its operator began anew (docker compose down -v), leave and join again: collective"
            f" identity leave {name}; collective invite redeem CODE"
        )
    elif isinstance(error, UsageError):
        advice = "see: collective doctor --help"
    return problem("call", error.message, advice, error.exit_code)


def mistyped(text: str) -> tuple[Finding, InviteCode | None]:
    """Look at a code alone: whether it is whole."""
    try:
        return fine("code", "The code is whole."), parse(text)
    except CollectiveError as error:
        return (
            problem(
                "code",
                f"Invalid invite code: {error.message[0].lower()}{error.message[1:]}",
                "ask for it again, and paste it, or its join URL",
                ExitCode.USAGE,
            ),
            None,
        )


async def bootstrap_of(code: InviteCode) -> list[Finding]:
    """See whether somebody answers where a code is redeemed."""
    looks = []
    for address in code.addresses:
        seen = await probing.look(address)
        if seen.answer is Answer.MEMBER:
            return [fine("bootstrap", f"{address} answers: the code can be redeemed from here.")]
        looks.append(f"{address}: {seen.answer.value}")
    return [
        problem(
            "bootstrap",
            f"The code names bootstraps of which none answers here ({'; '.join(looks)}).",
            "the inviter's bootstrap must run, and be reached: forward its port (9001), join their VPN,"
            " or ask for a code made with bootstrap_advertise_address set to where you reach it",
            ExitCode.NOT_REACHABLE,
        )
    ]


async def in_list(collective: Collective, code: InviteCode) -> list[Finding]:
    """Look a code up among the member's own invites; for those who may see it there."""
    for one in await collective.people.invites(all_states=True):
        if one.id == code.code_id:
            return [member.invite_finding(one.state, one.uses_left, one.expires_ms)]
    return [
        warning(
            "code",
            "Your member does not list this code for you.",
            "only who made it, and admins, see it; it may be another member's",
        )
    ]
