"""``collective invite``: let others in, and join."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.invite_redeem import redeem
from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.core.errors import UsageError
from collective.core.ids import shown_principal

if TYPE_CHECKING:
    from collective.cli.json_shapes import InviteJson, MadeCodeJson
    from collective.client.collective import Collective
    from collective.model.people import InviteStatus, MadeInvite

app = typer.Typer(no_args_is_help=True, help="Invitations: let others in, or join with one.")

KINDS = ("user", "node", "peer")


@app.command()
@command
def generate(
    invocation: Invocation,
    grant: Annotated[
        list[str] | None,
        typer.Option("--grant", metavar="PATH:RIGHT[+RIGHT]", help="May be given several times."),
    ] = None,
    max_uses: Annotated[
        int | None,
        typer.Option("--max-uses", min=1, max=1_000_000, help="How many may join; default 1."),
    ] = None,
    validity: Annotated[
        str | None, typer.Option("--validity", help="Like 24h or 7d; default 24h.")
    ] = None,
    description: Annotated[str, typer.Option("--description", metavar="TEXT")] = "",
    for_whom: Annotated[
        str, typer.Option("--for", metavar="user|node", help="Who joins.")
    ] = "user",
) -> None:
    """Make an invitation; its code is the last line, and is never shown again.

    --for node replaces the code in join/node.code, by which many nodes join; with --max-uses 1 it is a
    code for one node, which is approved by it.
    """
    from collective.cli.grants import parse_grant, tell_of_admin  # noqa: PLC0415 - as above
    from collective.core.units import parse_validity_s  # noqa: PLC0415 - keeps redeem fast
    from collective.model.people import InviteKind  # noqa: PLC0415 - as above

    if for_whom not in KINDS:
        raise UsageError("An invite is --for user or --for node.")
    if for_whom == "peer":
        raise UsageError("Another member is invited by its domain: collective peer invite DOMAIN")
    grants = [parse_grant(text) for text in grant or ()]
    if for_whom == "user" and not grants:
        raise UsageError("Say what may be done: --grant PATH:RIGHT[+RIGHT], like /shared:read.")
    validity_s = parse_validity_s(validity) if validity is not None else 0.0

    async def work(collective: Collective) -> MadeInvite:
        return await collective.people.invite(
            kind=InviteKind[for_whom.upper()],
            grants=grants,
            max_uses=max_uses or 0,
            validity_s=validity_s,
            description=description,
        )

    made = invocation.run(work)
    tell_of_admin(grants, made.invite.created_by)
    show_code(made, as_json=invocation.as_json)


@app.command("list")
@command
def list_invites(
    invocation: Invocation,
    everything: Annotated[
        bool, typer.Option("--all", help="Those used up, expired and revoked, too.")
    ] = False,
) -> None:
    """List invitations: uses left, expiry, maker, grants and who redeemed; never the secret."""

    async def work(collective: Collective) -> Sequence[InviteStatus]:
        return await collective.people.invites(all_states=everything)

    found = [invite_json(one) for one in invocation.run(work)]
    if invocation.as_json:
        output.as_json(found)
        return
    rows = [
        (
            one["id"],
            one["kind"],
            one["state"],
            f"{one['uses_left']}/{one['max_uses']}",
            output.shown_time(one["expires"], "never"),
            shown_principal(one["created_by"]),
            " ".join(f"{given['path']}:{'+'.join(given['rights'])}" for given in one["grants"]),
            one["description"],
            " ".join(use["global_id"] for use in one["redemptions"]),
        )
        for one in found
    ]
    output.table(
        (
            "ID",
            "FOR",
            "STATE",
            "LEFT",
            "EXPIRES",
            "BY",
            "GRANTS",
            "DESCRIPTION",
            "REDEEMED BY",
        ),
        rows,
    )
    if not everything:
        output.note("Those used up, expired and revoked are shown by: collective invite list --all")


@app.command()
@command
def revoke(
    invocation: Invocation,
    code_or_id: Annotated[str, typer.Argument(metavar="CODE-OR-ID")],
) -> None:
    """End an invitation; who joined by it stays, until revoked as an identity."""

    async def work(collective: Collective) -> InviteStatus:
        return await collective.people.revoke_invite(code_or_id)

    ended = invocation.run(work)
    if invocation.as_json:
        output.as_json(invite_json(ended))
    else:
        output.line(f"Invite {ended.id} is {ended.state}.")


app.command()(redeem)


def show_code(made: MadeInvite, *, as_json: bool) -> None:
    """Print a code just made: its URL, a QR code on a terminal, and the code alone at the end."""
    invite = made.invite
    expires = output.when(invite.expires_ms)
    if as_json:
        facts: MadeCodeJson = {
            "id": invite.id, "code": made.code, "join_url": made.join_url, "expires": expires,
        }  # fmt: skip
        output.as_json(facts)
        return
    is_for_node = invite.kind.value == "node"
    is_for_peer = invite.kind.value == "peer"
    if sys.stdout.isatty() and not is_for_node and not is_for_peer:
        import segno  # noqa: PLC0415 - only on a terminal

        segno.make(made.join_url, error="l").terminal(out=sys.stdout, compact=True)
    uses = "1 use" if invite.uses_total == 1 else f"{invite.uses_total} uses"
    until = output.shown_time(expires, "revoked")
    output.line(f"Invite   {invite.id}, {uses}, until {until}")
    if is_for_node:
        output.line("Node     set COLLECTIVE_JOIN_CODE to this code where the node runs, or let")
        output.line(
            "         COLLECTIVE_JOIN_CODE_FILE name a file with it. It is the coordinator's"
        )
        output.line("         join/node.code from now on; the one before is revoked.")
    elif is_for_peer:
        output.line(
            "Accept   collective peer accept CODE, as the other member's operator, with this code:"
        )
    else:
        output.line(f"Join URL {made.join_url}")
        output.line("Redeem   collective invite redeem CODE, with this code:")
    output.line(made.code)


def invite_json(invite: InviteStatus) -> InviteJson:
    """Return an invite as JSON has it; every field always present."""
    return {
        "id": invite.id,
        "kind": invite.kind.value,
        "state": invite.state,
        "grants": [{"path": str(given.path), "rights": given.words} for given in invite.grants],
        "max_uses": invite.uses_total,
        "uses_left": invite.uses_left,
        "created": output.when(invite.created_ms),
        "expires": output.when(invite.expires_ms),
        "created_by": str(invite.created_by),
        "description": invite.description,
        "redemptions": [
            {
                "identity": str(use.identity),
                "global_id": str(use.identity.global_id or use.identity),
                "at": output.when(use.at_ms),
            }
            for use in invite.uses
        ],
    }
