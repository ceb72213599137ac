"""``collective identity add-device|list|revoke``: what a coordinator knows of people's machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask
from collective.core.ids import shown_principal
from collective.core.units import format_count

if TYPE_CHECKING:  # heavy, and needed by few commands
    from collective.cli.json_shapes import DeviceCodeJson, ListedIdentityJson, RevokedJson
    from collective.client.collective import Collective
    from collective.model.people import (
        CertificateRecord,
        DeviceRecord,
        IdentityRecord,
        MadeInvite,
    )
    from collective.model.trust import Revoked

_SHOWN_LOSERS: Final = 5
_SHOWN_CERTIFICATES: Final = 2
"""The newest certificates of a device that are shown to people; ``--json`` shows more."""


@command
def add_device(
    invocation: Invocation,
    validity: Annotated[
        str, typer.Option("--validity", help="How long the code is good; like 15m.")
    ] = "15m",
) -> None:
    """Let a further machine act for you: makes a code, good once, to be redeemed there."""
    from collective.core.units import parse_duration_s  # noqa: PLC0415

    validity_s = parse_duration_s(validity)

    async def work(collective: Collective) -> MadeInvite:
        return await collective.people.add_device(validity_s=validity_s)

    made = invocation.run(work)
    expires = output.when(made.invite.expires_ms)
    until = output.shown_time(expires, "it is used")
    if invocation.as_json:
        facts: DeviceCodeJson = {
            "code": made.code, "join_url": made.join_url, "expires": expires,
        }  # fmt: skip
        output.as_json(facts)
        return
    output.note("On the other machine, run this and give it the code below (a secret until then):")
    output.note("  collective invite redeem -")
    output.note(f"It is good once, until {until}, and makes that machine you.")
    output.line(made.code)


@command
def list_identities(invocation: Invocation) -> None:
    """List who joined, with the key of each of their devices: all to an admin, else yourself."""

    async def work(collective: Collective) -> Sequence[IdentityRecord]:
        return await collective.people.identities()

    found = invocation.run(work)
    if invocation.as_json:
        output.as_json([_listed_json(one) for one in found])
        return
    if not found:
        output.note("Nobody has joined yet; invite people: collective invite generate")
        return
    for one in found:
        output.lines(identity_lines(one))


def identity_lines(one: IdentityRecord) -> list[str]:
    """Return an identity and its devices for people: each key in a form that `revoke` takes."""
    lines = [f"{shown_principal(str(one.principal))}{'  revoked' if one.revoked else ''}"]
    for device in one.devices:
        key = f"key:{device.key_digest.hex()}" if device.key_digest else "key not seen yet"
        state = "revoked" if device.revoked else "in use"
        offline = ", issued by the operator" if device.vouched else ""
        until = _until(device)
        lines.append(f"  device  {key}")
        lines.append(f"          {state}{offline}{f', until {until}' if until else ''}")
        lines += [
            f"          serial:{each.serial}{'  revoked' if each.revoked else ''}"
            for each in _newest(device)
        ]
    return lines


@command
def revoke(
    invocation: Invocation,
    who: Annotated[
        str,
        typer.Argument(
            metavar="NAME@DOMAIN|SPIFFE-ID|serial:HEX|key:HEX", help="Whom to shut out."
        ),
    ],
    yes: YesOption = False,
) -> None:
    """Shut someone out within seconds, for good: their certificates, grants and open invites end.

    A certificate (serial:HEX) is revoked with its key, so one machine is shut out; a key by
    key:HEX. Both are told by: collective identity list. Other devices of yours you may end yourself.
    """
    ask(f"Shut {who} out for good?", "Nobody was shut out.", yes=yes)

    async def work(collective: Collective) -> Revoked:
        return await collective.trust.revoke(who)

    done = invocation.run(work)
    if invocation.as_json:
        told: RevokedJson = {
            "revoked": who,
            "entries": list(done.entries),
            "revocation_epoch": done.epoch,
            "connections_closed": done.closed,
            "lost_rights": [shown_principal(str(one)) for one in done.consequences.losers],
            "invites_ended": done.consequences.invites,
            "datastores": [str(one) for one in done.consequences.datastores],
        }
        output.as_json(told)
    else:
        output.lines(revoked_lines(who, done))
        _tell_of_key(who, done.entries)


def revoked_lines(who: str, done: Revoked) -> list[str]:
    """Return what a revocation did, whom else it concerns, and what is left to decide."""
    lines = [f"{who} is shut out here; nodes follow within seconds."]
    ended = done.consequences
    if done.closed:
        lines.append(f"{format_count(done.closed, 'connection')} ended at once.")
    if ended.losers:
        shown = ", ".join(shown_principal(str(one)) for one in ended.losers[:_SHOWN_LOSERS])
        more = done.losers_count - len(ended.losers[:_SHOWN_LOSERS])
        lines.append(
            f"Rights that came from it ended too, of: {shown}{f' and {more} more' if more else ''}"
        )
    if ended.invites:
        lines.append(f"{format_count(ended.invites, 'open invite')} ended.")
    if ended.datastores:
        owned = ", ".join(str(one) for one in ended.datastores)
        lines.append(
            f"Still owned by it: {owned}; give each another owner with:"
            " collective datastore set PATH --owner NAME@DOMAIN"
        )
    return lines


def _tell_of_key(who: str, revoked: Sequence[str]) -> None:
    if not who.startswith("serial:"):
        return
    keys = [entry for entry in revoked if entry.startswith("key:")]
    if keys:
        output.line(f"Its key is revoked as well, so no other certificate of it counts: {keys[0]}")
    else:
        output.note(
            "Warning: this certificate was never seen here, so its key is not known, and another"
            " certificate of the same key would count; revoke key:HEX too ('collective pki show"
            " FILE' tells it)."
        )


def _newest(device: DeviceRecord) -> Sequence[CertificateRecord]:
    return device.certificates[:_SHOWN_CERTIFICATES]


def _until(device: DeviceRecord) -> str:
    ends = [one.expires_ms for one in device.certificates]
    return output.moment(max(ends)) if ends else ""


def _listed_json(one: IdentityRecord) -> ListedIdentityJson:
    return {
        "global_id": str(one.principal.global_id or ""),
        "identity": str(one.principal),
        "display_name": one.display_name,
        "invited_by": str(one.invited_by),
        "joined": output.when(one.joined_ms),
        "revoked": one.revoked,
        "devices": [
            {
                "key_sha256": device.key_digest.hex() or None,
                "added": output.when(device.added_ms) if device.added_ms else None,
                "issued_offline": device.vouched,
                "revoked": device.revoked,
                "certificates": [
                    {
                        "serial": each.serial,
                        "expires": output.when(each.expires_ms),
                        "revoked": each.revoked,
                    }
                    for each in device.certificates
                ],
            }
            for device in one.devices
        ],
    }
