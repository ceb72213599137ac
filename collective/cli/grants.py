"""``collective grant``: who may do what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.options import Invocation, command
from collective.cli.status import grant_json
from collective.cli.terminal import output
from collective.core.errors import UsageError
from collective.core.ids import Domain, SpiffeId, shown_principal
from collective.core.paths import FilePath
from collective.core.units import parse_validity_s
from collective.model.rights import WORDS, GrantTerms, Right, words_of

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import GoneJson, GrantJson
    from collective.client.collective import Collective
    from collective.model.grants import Grant

app = typer.Typer(no_args_is_help=True, help="Who may do what.")


def rights_of(words: Iterable[str]) -> Right:
    """Return the union of rights by their words; UsageError for none, and for what is none."""
    named = [WORDS.get(word) for word in words]
    rights = Right.NONE
    for right in named:
        rights |= right or Right.NONE
    if not named or None in named:
        raise UsageError("Rights are read, write and share, joined by '+'.")
    return rights


def parse_grant(text: str) -> GrantTerms:
    """Return what ``PATH:RIGHT[+RIGHT…]`` gives; UsageError otherwise."""
    path, colon, rights = text.rpartition(":")
    if not colon or not path or not rights:
        raise UsageError("A grant must look like /media:read or /shared:read+write.")
    return GrantTerms(FilePath.parse(path), rights_of(rights.split("+")))


def expiry_ms(validity: str | None, expires: str | None, *, now_s: float) -> int:
    """Return when a grant ends, in Unix milliseconds; 0 for never."""
    if validity is not None and expires is not None:
        raise UsageError("Give --validity or --expires, not both.")
    if validity is not None:
        return round((now_s + parse_validity_s(validity)) * 1000)
    if expires is None:
        return 0
    try:
        moment = dt.datetime.fromisoformat(expires)
    except ValueError as error:
        raise UsageError("--expires must look like 2030-01-31 or 2030-01-31T18:00.") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if moment.timestamp() <= now_s:
        raise UsageError("--expires lies in the past; give a later time.")
    return round(moment.timestamp() * 1000)


@app.command()
@command
def add(
    invocation: Invocation,
    grant: Annotated[str, typer.Argument(metavar="PATH:RIGHT[+RIGHT]")],
    principal: Annotated[
        str,
        typer.Argument(
            metavar="PRINCIPAL",
            help="name@domain, 'name@domain via MEMBER', or @domain for all whom a member vouches for.",
        ),
    ],
    validity: Annotated[
        str | None, typer.Option("--validity", help="Like 24h or 7d; default: for ever.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="A date or time (UTC), like 2030-01-31.")
    ] = None,
) -> None:
    """Give someone rights on a path and everything below it."""
    terms = parse_grant(grant)
    expires_ms = expiry_ms(validity, expires, now_s=invocation.world.clock.wall_s())

    async def work(collective: Collective) -> Grant:
        return await collective.people.add_grant(
            terms.path, terms.rights, principal, expires_ms=expires_ms
        )

    added = invocation.run(work)
    if invocation.as_json:
        output.as_json(grant_json(added))
    else:
        output.line(added.id)
        tell_of_admin([terms], added.granted_by)


def tell_of_admin(grants: Iterable[GrantTerms], giver: SpiffeId) -> None:
    """Say it where someone is made an admin: by every right on ``/``, from the operator."""
    rights = Right.NONE
    for one in grants:
        rights |= one.rights if one.path == FilePath() else Right.NONE
    if words_of(rights) == list(WORDS) and giver.role == "coordinator":
        output.note(
            "Note: every right on / from the operator makes an admin, who may revoke people, drain and"
            " remove nodes, set datastores and read the audit; on /NAME it does not."
        )


def chained(grants: Sequence[GrantJson]) -> list[tuple[int, GrantJson]]:
    """Return grants with their depth: what was passed on stands below what it came from."""
    known = {one["id"] for one in grants}
    below: dict[str, list[GrantJson]] = {}
    for one in grants:
        above = next((source for source in one["sources"] if source in known), "")
        below.setdefault(above, []).append(one)
    ordered: list[tuple[int, GrantJson]] = []
    pending = [(0, one) for one in reversed(below.get("", []))]
    while pending:
        depth, one = pending.pop()
        ordered.append((depth, one))
        pending.extend((depth + 1, child) for child in reversed(below.get(one["id"], [])))
    return ordered


@app.command("list")
@command
def list_grants(
    invocation: Invocation,
    at: Annotated[
        str, typer.Option("--at", metavar="DOMAIN", help="Those at a peer, like home.bob.")
    ] = "",
) -> None:
    """List your grants and what came from them; what was passed on stands below its source."""

    async def work(collective: Collective) -> tuple[Sequence[Grant], Domain]:
        return await collective.people.grants(domain=at), collective.domain

    found, own = invocation.run(work)
    grants = [grant_json(grant) for grant in found]
    receivers = {grant.id: grant.principal.as_receiver(own) for grant in found}
    if invocation.as_json:
        output.as_json(grants)
        return
    rows = [
        (
            f"{'  ' * depth}{one['id']}",
            one["path"],
            "+".join(one["rights"]),
            receivers[one["id"]],
            output.shown_time(one["expires"], "never"),
            shown_principal(one["granted_by"]),
        )
        for depth, one in chained(grants)
    ]
    output.table(("ID", "PATH", "RIGHTS", "PRINCIPAL", "EXPIRES", "GRANTED BY"), rows)


@app.command()
@command
def remove(invocation: Invocation, grant_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a grant back."""

    async def work(collective: Collective) -> None:
        await collective.people.remove_grant(grant_id)

    invocation.run(work)
    if invocation.as_json:
        removed: GoneJson = {"removed": grant_id}
        output.as_json(removed)
