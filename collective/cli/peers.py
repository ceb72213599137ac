"""``collective peer``: other members that this one exchanges trust with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.cli import output
from collective.cli.asking import YesOption, ask
from collective.cli.options import Invocation, command
from collective.core.errors import NotFoundError
from collective.core.ids import parse_domain

if TYPE_CHECKING:  # heavy
    from collective.client.collective import Collective
    from collective.model.peers import Inviter, PeerFacts
    from collective.model.people import MadeInvite

app = typer.Typer(
    no_args_is_help=True, help="Other members: peer with them, and reach their files."
)

DomainArgument = Annotated[
    str, typer.Argument(metavar="DOMAIN", help="The other member's, like home.bob.")
]
_HEADINGS: Final = ("DOMAIN", "MEMBER", "STATE", "ADDRESS", "LATENCY", "LAST SEEN", "VERSION")
_NOT_SEEN: Final = "never"


@app.command()
@command
def invite(
    invocation: Invocation,
    domain: DomainArgument,
    validity: Annotated[
        str | None, typer.Option("--validity", help="Like 24h or 7d; default 24h.")
    ] = None,
    confirm: Annotated[
        bool,
        typer.Option("--confirm", help="Who comes counts only after: collective peer confirm."),
    ] = False,
) -> None:
    """Invite another member to peer; the code is the last line, and only that member can use it, once."""
    from collective.cli.invites import show_code  # noqa: PLC0415 - keeps the others fast
    from collective.core.units import parse_validity_s  # noqa: PLC0415 - as above

    wanted = parse_domain(domain)
    validity_s = parse_validity_s(validity) if validity is not None else 0.0

    async def work(collective: Collective) -> tuple[MadeInvite, str]:
        made = await collective.peers.invite(wanted, validity_s=validity_s, confirms=confirm)
        return made, (await collective.peers.all())[1]

    made, fingerprint = invocation.run(work)
    output.note(
        f"Your fingerprint is {fingerprint}; whoever accepts is shown it, and should hear it from you."
    )
    show_code(made, as_json=invocation.as_json)


@app.command()
@command
def accept(
    invocation: Invocation,
    code: Annotated[str, typer.Argument(metavar="CODE")],
    yes: YesOption = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Where the member's CA was made anew: forget the former one."
        ),
    ] = False,
) -> None:
    """Peer with the member that made a code; shows who that is before anything is sent to it."""

    async def look(collective: Collective) -> Inviter:
        return await collective.peers.look_at(code)

    inviter = invocation.run(look)
    where = ", ".join(str(address) for address in inviter.addresses)
    output.note(f"The code is of {inviter.domain} (member {inviter.member}) at {where}.")
    output.note(f"Its fingerprint is  {inviter.fingerprint}")
    output.note(f"Yours is            {inviter.own_fingerprint}")
    ask(
        f"Does {inviter.domain} say that this is its fingerprint?",
        "Nothing was sent to it.",
        yes=yes,
    )

    async def work(collective: Collective) -> PeerFacts:
        return await collective.peers.accept(code, inviter.domain, replaces=replace)

    facts = invocation.run(work)
    if invocation.as_json:
        output.as_json(peer_json(facts))
    else:
        output.line(f"{facts.domain} is a peer; its files are at /@{facts.domain}.")


@app.command()
@command
def confirm(invocation: Invocation, domain: DomainArgument) -> None:
    """Let a member count that redeemed an invitation made with --confirm."""

    async def work(collective: Collective) -> PeerFacts:
        return await collective.peers.confirm(parse_domain(domain))

    facts = invocation.run(work)
    if invocation.as_json:
        output.as_json(peer_json(facts))
    else:
        output.line(f"{facts.domain} is a peer; its files are at /@{facts.domain}.")


@app.command("list")
@command
def list_peers(
    invocation: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Those removed, too.")] = False,
) -> None:
    """List the peers, and whether each can be reached."""

    async def work(collective: Collective) -> tuple[Sequence[PeerFacts], str]:
        return await collective.peers.all(with_removed=everything, shown=True)

    shown, fingerprint = invocation.run(work)
    if invocation.as_json:
        output.as_json([peer_json(one) for one in shown])
        return
    rows = [
        (
            one.domain,
            one.member,
            _state(one),
            str(one.addresses[0]) if one.addresses else "-",
            f"{one.latency_ms:.0f} ms" if one.is_healthy else "-",
            output.shown_time(output.when(one.last_seen_ms), _NOT_SEEN),
            one.version,
        )
        for one in shown
    ]
    output.table(_HEADINGS, rows)
    output.note(f"Your own fingerprint is {fingerprint}.")


@app.command()
@command
def show(invocation: Invocation, domain: DomainArgument) -> None:
    """Show everything that is known of one peer."""
    wanted = parse_domain(domain)

    async def work(collective: Collective) -> tuple[Sequence[PeerFacts], str]:
        return await collective.peers.all()

    peers, _ = invocation.run(work)
    found = next((one for one in peers if one.domain == wanted), None)
    if found is None:
        raise NotFoundError(f"{wanted} is no peer here; see: collective peer list")
    facts = peer_json(found)
    if invocation.as_json:
        output.as_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        output.line(f"{name.replace('_', ' '):<17}{'' if shown is None else shown}".rstrip())


@app.command()
@command
def remove(invocation: Invocation, domain: DomainArgument, yes: YesOption = False) -> None:
    """End a peering: its connections end at once, and all grants to its people for good."""
    wanted = parse_domain(domain)
    ask(
        f"End the peering with {wanted}, and every grant to its people?",
        "The peer stays.",
        yes=yes,
    )

    async def work(collective: Collective) -> PeerFacts:
        return await collective.peers.remove(wanted)

    facts = invocation.run(work)
    if invocation.as_json:
        output.as_json(peer_json(facts))
    else:
        output.line(f"{facts.domain} is no peer any more.")


def _state(one: PeerFacts) -> str:
    if one.state.value != "active":
        return one.state.value
    return "healthy" if one.is_healthy else "away"


def peer_json(one: PeerFacts) -> dict[str, Any]:
    """Return a peer as JSON has it."""
    return {
        "domain": one.domain,
        "member_id": one.member,
        "state": one.state.value,
        "is_healthy": one.is_healthy,
        "addresses": [str(address) for address in one.addresses],
        "fingerprint": one.fingerprint,
        "since": output.when(one.since_ms),
        "last_seen": output.when(one.last_seen_ms),
        "latency_ms": one.latency_ms,
        "why_away": one.why_away,
        "version": one.version,
        "bundle_sequence": one.sequence,
        "is_seen": one.is_seen,
        "grants_here": one.granted,
        "grants_there": one.granted_there,
        "reaches_us": None if one.reach is None else one.reach.is_reached,
        "why_it_does_not": "" if one.reach is None else one.reach.why,
    }
