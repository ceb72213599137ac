"""What is looked at before a settings file is written: ports, disk, clock, addresses and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from collective.cli.diagnosis import machine
from collective.cli.diagnosis.client import bootstrap_of
from collective.cli.diagnosis.findings import Finding, Level, problem, warning
from collective.cli.setup.listening import listening_addresses, main_listener
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ExitCode
from collective.core.settings import ServeSettings, file_settings
from collective.core.units import Address
from collective.pki.invite_code import InviteCode
from collective.rpc.links import Links


async def preflight(
    settings: ServeSettings,
    state_dir: str,
    code: InviteCode | None = None,
    before: bytes | None = None,
    *,
    links: Links,
    clock: Clock,
    disk: Disk,
) -> Sequence[Finding]:
    """Return what was found, causes first; relative folders of ``settings`` are below ``state_dir``.

    With the ``code`` of a node that joins, its member is asked too: whether it answers, and for its time.
    Ports that the file said ``before`` may be in use, by the process that this sets up anew.
    """
    listening = listening_addresses(settings)
    findings = [machine.clock(clock.wall_s()), await machine.own_name()]
    own = ports_of(before)
    findings += shared_ports(listening) or [
        _of_ours(one) if is_own and one.level is Level.PROBLEM else one
        for is_own in (False, True)
        for one in await machine.ports(
            {name: each for name, each in listening.items() if (each.port in own) is is_own}, links
        )
    ]
    for told, setting in (
        (settings.advertise_addresses, main_listener(settings)),
        (settings.bootstrap_advertise_addresses, settings.bootstrap_address),
    ):
        if setting is not None:
            findings += await machine.advertised(told, setting)
    if code is not None:
        findings += await inviter(code, links=links, clock=clock)
    folder = settings.data_dir if settings.data_dir.startswith("/") else state_dir
    findings.append(
        machine.room("data_dir", folder, disk, wanted_bytes=settings.storage_capacity_bytes)
    )
    return findings


def ports_of(before: bytes | None) -> frozenset[int]:
    """Return the ports of settings that are replaced; none where there are none that can be read."""
    if before is None:
        return frozenset()
    try:
        settings = file_settings("before", lambda _: before)
    except CollectiveError:
        return frozenset()
    return frozenset(address.port for address in listening_addresses(settings).values())


def _of_ours(one: Finding) -> Finding:
    """Return the finding that a port is taken, where it is the one that the old settings name."""
    return warning(
        one.check,
        f"{one.says.rstrip('.')}; the settings that are replaced name it too.",
        "end the process of the old settings before the new one starts; systemctl restart does both",
    )


async def inviter(code: InviteCode, *, links: Links, clock: Clock) -> list[Finding]:
    """See whether the member that gave ``code`` is reached from here, and compare clocks with it."""
    reached = await bootstrap_of(code)
    whose = "the member that gave the code"
    compared = await machine.skew(clock.wall_s() * 1000, whose, code.addresses, links)
    return reached if compared is None else [*reached, compared]


def shared_ports(listening: Mapping[str, Address]) -> list[Finding]:
    """Return a problem for any two settings by which one process would listen twice at one place."""
    found = []
    for (one, here), (other, there) in combinations(listening.items(), 2):
        is_one_host = here.host == there.host or here.is_wildcard or there.is_wildcard
        if here.port == there.port and is_one_host:
            says = (
                f"{one} ({here}) and {other} ({there}) are one port, and only one can listen there."
            )
            found.append(problem("port", says, f"choose another port for {other}", ExitCode.USAGE))
    return found
