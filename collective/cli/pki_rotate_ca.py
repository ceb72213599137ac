"""``collective pki rotate-ca``: begin to replace the member's CA, look at it, end the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.progress import Line
from collective.core.errors import UsageError
from collective.core.ids import shown_principal
from collective.model.trust import Phase
from collective.pki import certificates

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import RotationJson
    from collective.client.collective import Collective
    from collective.model.trust import RotationProgress

FINISH_WAIT_S: Final = 60.0
"""How long --finish waits for the end."""


@command
def rotate_ca(
    invocation: Invocation,
    status: Annotated[
        bool, typer.Option("--status", help="Change nothing; tell how far it is.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="End the old CA.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if some would be shut out by it.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Replace the member's CA: begin; look with --status; --finish once everybody has followed.

    Needs the operator's credentials: --ca, --cert and --key of the coordinator.
    """
    if status and (finish or force):
        raise UsageError("Give --status or --finish, not both.")
    if finish:
        shut_out = " Whoever has not followed is shut out." if force else ""
        ask(
            f"The old CA's key is destroyed, and open invites are void.{shut_out} End the old CA?",
            "Nothing was ended; to look at it: --status.",
            yes=yes,
        )
    elif not status:
        ask(
            "Everybody will need a certificate of the new CA. Begin to replace the CA?",
            "Nothing was begun; to look at one under way: --status.",
            yes=yes,
        )

    async def work(collective: Collective) -> RotationProgress:
        return await collective.trust.rotate(finish=finish, force=force, status=status)

    async def look(collective: Collective) -> RotationProgress:
        return await collective.trust.rotate(status=True)

    told = invocation.run(work)
    world = invocation.world
    deadline_s = world.clock.monotonic_s() + FINISH_WAIT_S
    line = Line()
    while finish and told.phase is not Phase.NONE and world.clock.monotonic_s() < deadline_s:
        line.show(f"The old CA ends: {deadline_s - world.clock.monotonic_s():.0f} s at most")
        try:
            with ending_in_order():
                world.threads.pause(1.0)
            told = invocation.run(look)  # with the coordinator's certificate of now
        finally:
            line.clear()
    if invocation.as_json:
        facts: RotationJson = {
            "phase": told.phase.value,
            "waiting": list(told.waiting),
            "begun": output.when(told.begun_ms),
            "ca_key_sha256": _pin(told.newest_der),
        }
        output.as_json(facts)
    else:
        output.lines(_lines(told, is_finishing=finish))


def _lines(told: RotationProgress, *, is_finishing: bool) -> list[str]:
    if told.phase is Phase.NONE and is_finishing:
        return ["The old CA counts no longer. Open invites pinned it and are void; make new ones."]
    if told.phase is Phase.NONE:
        return ["No CA is being replaced; to begin: collective pki rotate-ca"]
    begun = output.moment(told.begun_ms)
    lines = [f"The CA is being replaced (phase: {told.phase.value}, begun {begun})."]
    if told.waiting:
        lines.append(f"{len(told.waiting)} have no certificate of the new CA yet:")
        lines += [f"  {shown_principal(who)}" for who in told.waiting]
    if told.phase is Phase.CLOSING:
        lines.append("The old one ends in a moment; look with: collective pki rotate-ca --status")
    elif told.waiting:
        lines.append("Look again with: collective pki rotate-ca --status")
    else:
        lines.append(
            "Everybody has followed; end the old CA with: collective pki rotate-ca --finish"
        )
    return lines


def _pin(certificate_der: bytes) -> str:
    certificate = certificates.load_certificate(certificate_der)
    return certificates.key_digest(certificates.certificate_key(certificate)).hex()
