"""``collective peer``: other members that this one exchanges trust with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.code_input import CodeArgument, CodeFileOption, code_given, require_for
from collective.cli.options import Invocation, command
from collective.cli.status import NEVER_SEEN, figures_json, grant_json, state_of
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask, ask_whoever_is_there
from collective.core.ids import Domain, parse_domain
from collective.core.units import format_size

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import AcceptedPeerJson, PeerJson, ShownPeerJson
    from collective.client.collective import Collective
    from collective.model.grants import Grant
    from collective.model.peers import AcceptedPeer, Inviter, PeerFacts, PeerGrants
    from collective.model.people import MadeInvite

app = typer.Typer(
    no_args_is_help=True, help="Other members: peer with them, and reach their files."
)

DomainArgument = Annotated[
    str, typer.Argument(metavar="DOMAIN", help="The other member's, like home.bob.")
]
HEADINGS: Final = ("DOMAIN", "STATE", "FINGERPRINT", "ADDRESS")
"""At 80 columns a fingerprint wraps between its groups, and a long state between its words."""
_LABEL_COLUMNS: Final = 16


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
    code: CodeArgument = None,
    file: CodeFileOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask whether the fingerprint is right.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Where the member's CA was made anew: forget the former one."
        ),
    ] = False,
) -> None:
    """Peer with the member that made a code; shows who that is before anything is sent to it."""
    found = code_given(code, file, invocation.world.disk)
    require_for(found, "a member")
    given = found.encode()

    async def look(collective: Collective) -> Inviter:
        return await collective.peers.look_at(given)

    inviter = invocation.run(look)
    where = ", ".join(str(address) for address in inviter.addresses)
    output.note(f"The code is of {inviter.domain} (member {inviter.member}) at {where}.")
    output.note(f"Its fingerprint is  {inviter.fingerprint}")
    output.note(f"Yours is            {inviter.own_fingerprint}")
    ask_whoever_is_there(
        f"Does {inviter.domain} say that this is its fingerprint?",
        "Nothing was sent to it.",
        yes=yes,
    )

    async def work(collective: Collective) -> tuple[AcceptedPeer, Domain]:
        return await collective.peers.accept(
            given, inviter.domain, replaces=replace
        ), collective.domain

    accepted, own = invocation.run(work)
    facts = accepted.peer
    if invocation.as_json:
        told: AcceptedPeerJson = {**peer_json(facts), "is_waiting": accepted.is_waiting}
        output.as_json(told)
        return
    if accepted.is_waiting:
        output.line(
            f"{facts.domain} was accepted, and has to confirm first: its operator compares your"
            f" fingerprint, and runs: collective peer confirm {own}. Until then it counts as away here."
        )
    else:
        output.line(f"{facts.domain} is a peer; its files are at /@{facts.domain}.")
    _tell_of_names(facts)


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
        _tell_of_names(facts)


@app.command("list")
@command
def list_peers(
    invocation: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Those removed, too.")] = False,
) -> None:
    """List the peers with their fingerprints, and whether each can be reached; they count as seen then."""

    async def work(collective: Collective) -> tuple[Sequence[PeerFacts], str]:
        return await collective.peers.all(with_removed=everything, shown=True)

    shown, fingerprint = invocation.run(work)
    if invocation.as_json:
        output.as_json([peer_json(one) for one in shown])
        return
    output.table(HEADINGS, [peer_row(one) for one in shown])
    for one in shown:
        if not one.is_seen:
            _tell_of_names(one)
    output.note(f"Your own fingerprint is {fingerprint}.")


@app.command()
@command
def show(invocation: Invocation, domain: DomainArgument) -> None:
    """Show everything that is known of one peer, and what is granted in both directions."""
    wanted = parse_domain(domain)

    async def work(collective: Collective) -> tuple[PeerFacts, PeerGrants, Domain]:
        return *await collective.peers.show(wanted), collective.domain

    facts, grants, own = invocation.run(work)
    if invocation.as_json:
        told: ShownPeerJson = {
            **peer_json(facts),
            "granted_here": [grant_json(one) for one in grants.here],
            "granted_there": [grant_json(one) for one in grants.there],
            "why_not_there": grants.why_not_there,
        }
        output.as_json(told)
        return
    output.lines(_shown_lines(facts))
    output.lines(
        _grant_lines(f"Granted here to {facts.domain}", grants.here, facts.figures.granted, own)
    )
    if grants.why_not_there:
        output.line(f"Granted there: not known now; {grants.why_not_there}")
    elif facts.state.value == "active":
        there = max(len(grants.there), facts.figures.granted_there)
        output.lines(_grant_lines(f"Granted by {facts.domain} to {own}", grants.there, there, own))


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


def _shown_lines(one: PeerFacts) -> list[str]:
    """Return a peer for people."""
    figures = one.figures
    rows = [
        ("Member", f"{one.member} ({one.domain})"),
        ("State", _state(one)),
        ("Why away", one.why_away),
        ("Fingerprint", one.fingerprint),
        ("Addresses", ", ".join(map(str, one.addresses))),
        ("Version", one.version),
        ("Last seen", output.moment(one.last_seen_ms, NEVER_SEEN)),
        ("Peer since", output.moment(one.since_ms)),
        ("Bundle", f"number {one.sequence}, taken {output.moment(one.taken_ms)}"),
        (
            "Bytes",
            f"{format_size(figures.received_bytes)} in, {format_size(figures.sent_bytes)} out",
        ),
        ("Refused here", f"{figures.refused} calls, tickets and connections"),
        *(("Not taken", why) for why in one.not_taken),
        ("Names here", ", ".join(who.shown for who in one.names_here)),
    ]
    return [f"{label:<{_LABEL_COLUMNS}}{value}" for label, value in rows if value]


def _grant_lines(title: str, grants: Sequence[Grant], count: int, own: Domain) -> list[str]:
    """Return grants for people, and how many there are beyond those."""
    rows = [
        f"  {one.path}: {'+'.join(one.words)} to {one.principal.as_receiver(own)}" for one in grants
    ]
    if count > len(grants):
        rows.append(f"  and {count - len(grants)} more")
    return [f"{title}: {count}", *rows]


def _tell_of_names(one: PeerFacts) -> None:
    """Say which names in a peer's domain were given out here before it was a peer."""
    if one.names_here:
        names = ", ".join(who.shown for who in one.names_here)
        output.note(
            f"Names in {one.domain} were given out here before it was a peer: {names}. They are people of"
            " your member, and keep their rights; the names in grants mean the peer's people from now on."
            " Shut out whoever should not have such a name: collective identity revoke NAME"
        )


def peer_row(one: PeerFacts) -> tuple[str, ...]:
    """Return a peer as a row for people."""
    address = str(one.addresses[0]) if one.addresses else "-"
    return (one.domain, _state(one), one.fingerprint, address)


def _state(one: PeerFacts) -> str:
    if one.state.value != "active":
        return one.state.value
    return state_of(one)


def peer_json(one: PeerFacts) -> PeerJson:
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
        "bundle_taken": output.when(one.taken_ms),
        "not_taken": list(one.not_taken),
        "names_here": [str(who) for who in one.names_here],
        "is_seen": one.is_seen,
        **figures_json(one.figures),
        "reaches_us": None if one.reach is None else one.reach.is_reached,
        "why_it_does_not": "" if one.reach is None else one.reach.why,
    }
