"""``collective doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shlex
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.progress import Line
from collective.core.errors import CollectiveError, ExitCode, NotFoundError, PermissionDeniedError
from collective.core.units import format_count

if TYPE_CHECKING:
    from collective.cli.diagnosis.findings import Finding
    from collective.cli.diagnosis.installation import Installation
    from collective.cli.json_shapes import DoctorJson
    from collective.client.collective import Collective
    from collective.pki.invite_code import InviteCode

app = typer.Typer()

_ENDS: Final = frozenset(("process", "rights"))
"""Findings after which its coordinator is not asked: it does not run, or its key cannot be read."""


@app.command()
@command
def doctor(
    invocation: Invocation,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings of a process on this machine; repeatable. Default: /etc/collective/*.toml.",
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="PATH", help="Why can this path not be used?")
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="What is wrong with this code?")
    ] = None,
    backup: Annotated[
        str | None,
        typer.Option("--backup", metavar="PATH", help="Where the coordinator's backups lie."),
    ] = None,
) -> None:
    """Find what is wrong with an installation, running or dead, or with a client, and say what to do.

    Ends with 0 where there is no problem, else with the exit code of the first one.
    """
    from collective.cli.diagnosis.findings import (  # noqa: PLC0415 - heavy
        exit_code_of,
        print_findings,
    )

    if path is not None:
        from collective.core.paths import FilePath  # noqa: PLC0415 - heavy

        FilePath.parse(path)  # a mistyped one should not cost the findings
    with ending_in_order():
        examined = asyncio.run(_Examination(invocation, path, code, backup).all(config or ()))
    findings = [one for _, found in examined for one in found]
    ending = exit_code_of(findings)
    if invocation.as_json:
        told: DoctorJson = {
            "exit_code": int(ending),
            "parts": [
                {"part": part, "findings": [one.as_json() for one in found]}
                for part, found in examined
            ],
        }
        output.as_json(told)
    else:
        for part, found in examined:
            output.line(part)
            print_findings(found, with_fine=True)
        bad = sum(1 for one in findings if one.advice and one.exit_code)
        output.line(f"{format_count(bad, 'problem')}.")
    if ending:
        raise typer.Exit(ending)


class _Examination:
    """One run: of every installation here, then of the client."""

    def __init__(
        self, invocation: Invocation, path: str | None, code: str | None, backup: str | None
    ) -> None:
        self._invocation = invocation
        self._world = invocation.world
        self._links = invocation.links
        self._path = path
        self._code = code
        self._backup = backup
        self._has_coordinator = False
        self._is_unread = False
        """Settings cannot be used: what is wrong with them is said, and they may be the coordinator's."""

    async def all(self, configs: tuple[str, ...] | list[str]) -> list[tuple[str, list[Finding]]]:
        """Return the findings of each part, under its name."""
        from collective.cli.operators import settings_files  # noqa: PLC0415 - heavy
        from collective.cli.unit_files import SETTINGS_DIR  # noqa: PLC0415 - as above

        told = list(configs) or list(filter(None, [os.environ.get("COLLECTIVE_CONFIG")]))
        is_asked = self._is_asked_of_the_client()
        here = [] if is_asked else list(settings_files(SETTINGS_DIR, self._world.disk))
        files = told or here
        examined, line = [], Line()
        try:
            for file in files:
                line.show(f"Examining {file}")
                examined.append((file, await self._installation(file)))
            if is_asked or self._is_joined() or not files:
                line.show("Examining this machine as a client")
                examined.append(("client", await self._client()))
        finally:
            line.clear()
        if self._backup is not None and not (self._has_coordinator or self._is_unread):
            examined.insert(0, ("backup", [self._of_no_coordinator(self._backup)]))
        return examined

    def _of_no_coordinator(self, backup: str) -> Finding:
        from collective.cli.diagnosis.findings import problem  # noqa: PLC0415 - heavy

        says = f"No coordinator was examined here, so nothing is told of the backup at {backup}."
        advice = "name the coordinator's settings: --config FILE"
        return problem("backup", says, advice, ExitCode.USAGE)

    def _is_asked_of_the_client(self) -> bool:
        given = self._invocation
        return bool(given.cert or given.coordinator or given.collective)

    def _is_joined(self) -> bool:
        from collective.cli.connecting import open_store  # noqa: PLC0415 - heavy

        return bool(open_store(self._world).collectives())

    # --- installations ---------------------------------------------------------------------------

    async def _installation(self, file: str) -> list[Finding]:
        from collective.cli.diagnosis.findings import problem  # noqa: PLC0415 - heavy
        from collective.cli.diagnosis.installation import (  # noqa: PLC0415 - heavy
            Inspection,
            Installation,
        )

        world = self._world
        try:
            it = Installation.of(file, world.disk)
        except CollectiveError as error:
            self._is_unread = True
            if isinstance(error, NotFoundError):
                advice = f"make it: collective init --output {shlex.quote(file)}"
            else:
                advice = "correct it; collective serve --help tells every setting"
            return [problem("settings", error.message, advice, error.exit_code)]
        self._has_coordinator |= "coordinator" in it.settings.roles
        found = await Inspection(it, self._links, world.clock, world.disk).findings(self._backup)
        if it.operator is not None and found and not {one.check for one in found} & _ENDS:
            found += await self._as_operator(it)
        return found

    async def _as_operator(self, it: Installation) -> list[Finding]:
        assert it.operator is not None
        cert, key, ca = it.operator
        told = self._invocation.coordinator
        own = replace(
            self._invocation, ca=ca, cert=cert, key=key, coordinator=told, collective=None
        )
        return await self._calls(own, it.place.name)

    # --- the client ------------------------------------------------------------------------------

    async def _client(self) -> list[Finding]:
        from collective.cli.connecting import open_store  # noqa: PLC0415 - heavy
        from collective.cli.diagnosis import client, machine  # noqa: PLC0415 - heavy
        from collective.cli.diagnosis.findings import warning  # noqa: PLC0415 - heavy
        from collective.client.identity.config_dir import is_exposed  # noqa: PLC0415 - heavy
        from collective.core.units import parse_addresses  # noqa: PLC0415 - heavy

        given, now_s = self._invocation, self._world.clock.wall_s()
        found = [machine.clock(now_s)]
        if given.cert:
            return found + await self._calls(given, "")
        store = open_store(self._world)
        if is_exposed(store.place.key):
            says, advice = f"Others can read {store.place.key}.", f"chmod 600 {store.place.key}"
            found.append(warning("key-mode", says, advice))
        seen, chosen = client.joined(store, given.collective, now_s, self._world.disk)
        found += seen
        if chosen is None:
            return found + await self._code_alone()
        addresses = parse_addresses(given.coordinator or "") or chosen.coordinator_addresses
        found += await client.member_at(
            addresses,
            chosen.bootstrap_addresses,
            chosen.domain,
            links=self._links,
            clock=self._world.clock,
        )
        return found + await self._calls(given, chosen.name)

    async def _code_alone(self) -> list[Finding]:
        from collective.cli.diagnosis import client  # noqa: PLC0415 - heavy

        if self._code is None:
            return []
        first, parsed = client.mistyped(self._code)
        return [first, *(await client.bootstrap_of(parsed) if parsed is not None else ())]

    # --- calls -----------------------------------------------------------------------------------

    async def _calls(self, who: Invocation, name: str) -> list[Finding]:
        """Ask the member itself, and about path and code where these were given."""
        from collective.cli.connecting import connected  # noqa: PLC0415 - heavy
        from collective.cli.diagnosis import client  # noqa: PLC0415 - heavy

        found = await self._code_alone()
        parsed: InviteCode | None = client.mistyped(self._code)[1] if self._code else None
        try:
            async with connected(who) as collective:
                return found + await self._answers(collective, parsed)
        except CollectiveError as error:
            return [*found, client.refused(error, name)]

    async def _answers(self, collective: Collective, code: InviteCode | None) -> list[Finding]:
        from collective.cli.diagnosis import client, machine, member  # noqa: PLC0415 - heavy

        clock = self._world.clock
        status = await member.settled_status(collective)
        offset_s = await collective.server_time_ms() / 1000 - clock.wall_s()
        found = [machine.skew_finding(offset_s, f"the coordinator of {status.domain}")]
        found += member.of_status(status, clock.wall_s())
        found += await member.direct_reach(status)
        with suppress(PermissionDeniedError):  # for admins
            found += member.of_peers((await collective.peers.all(with_removed=False))[0])
        if code is not None:
            found += await client.in_list(collective, code)
        if self._path is not None:
            found += await member.for_path(collective, self._path, status)
        return found
