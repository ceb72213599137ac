"""``collective audit``: who did what, and who was refused what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.progress import Meter, Unit
from collective.core.ids import shown_principal, shown_principals
from collective.core.units import parse_duration_s

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import AuditRecordJson
    from collective.client.collective import Collective
    from collective.model.audit import AuditRow

app = typer.Typer()

_HEX: Final = re.compile(r"(?<![0-9a-z])[0-9a-f]{32,}(?![0-9a-z])")
_HEX_SHOWN: Final = 12


@app.command()
@command
def audit(
    invocation: Invocation,
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="How far back, like 24h or 7d.")
    ] = "24h",
) -> None:
    """Show who did what and who was refused what, the oldest first; admins only."""
    now_s = invocation.world.clock.wall_s()
    since_ms = max(0, round((now_s - parse_duration_s(since)) * 1000))

    async def work(collective: Collective) -> list[AuditRow]:
        meter = Meter(invocation.world.clock, unit=Unit.RECORDS, doing="Read")
        found = []
        async with meter.shown():
            async for record in collective.trust.audit(since_ms=since_ms):
                found.append(record)
                meter(1)
        return found

    records = [record_json(record) for record in invocation.run(work)]
    if invocation.as_json:
        output.as_json(records)
        return
    rows = [
        (
            output.shown_time(one["at"]),
            shown_principal(one["actor"]),
            one["action"],
            brief(shown_principal(one["target"])),
            brief(shown_principals(one["detail"])),
        )
        for one in records
    ]
    output.table(("AT", "WHO", "WHAT", "ON", "DETAIL"), rows)


def brief(text: str) -> str:
    """Return ``text`` with the beginnings alone of keys' digests and serials; JSON has them whole."""
    return _HEX.sub(lambda found: f"{found[0][:_HEX_SHOWN]}…", text)


def record_json(record: AuditRow) -> AuditRecordJson:
    """Return an audit record as JSON has it; every field always present."""
    return {
        "at": output.when(record.at_ms),
        "actor": record.actor,
        "action": record.action,
        "target": record.target,
        "detail": record.detail,
        "request_id": record.request_id,
    }
