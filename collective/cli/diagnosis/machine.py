"""What the machine itself has to give: names, addresses, ports, room and the right time."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from collective.cli.diagnosis.findings import Finding, fine, problem, warning
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ExitCode, UnreachableError
from collective.core.limits import MIB
from collective.core.units import Address, format_size
from collective.pki.ca import BACKDATE_S
from collective.rpc.client import probing
from collective.rpc.client.own_addresses import is_own
from collective.rpc.links import Links

BUILT_S: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
"""No clock that is right shows a time before this program was written."""
SKEW_NOTICED_S: Final = 5.0
ROOM_LEAST_BYTES: Final = 128 * MIB
"""With less than this a node soon takes no writes: it keeps 64 MiB free, and a chunk has 4."""
ROOM_LITTLE_BYTES: Final = 1024 * MIB
_PRIVATE_HINT: Final = (
    "that is right behind NAT or a mapped port, as long as others do reach it; try from outside"
)


def clock(now_s: float) -> Finding:
    """Look at the machine's clock alone."""
    if now_s < BUILT_S:
        shown = dt.datetime.fromtimestamp(max(0.0, now_s), dt.UTC)
        return problem(
            "clock",
            f"This machine believes that it is {shown:%Y-%m-%d %H:%MZ}.",
            "set its clock, and keep it right: timedatectl set-ntp true",
        )
    return fine("clock", "The clock shows a time that can be right.")


async def skew(
    now_ms: float, whose: str, bootstraps: Sequence[Address], links: Links
) -> Finding | None:
    """Compare the machine's clock with that of a member; None where nobody says what it shows."""
    try:
        theirs_ms = await probing.time_at(links, tuple(bootstraps))
    except CollectiveError:
        return None
    return skew_finding((theirs_ms - now_ms) / 1000, whose)


def skew_finding(offset_s: float, whose: str) -> Finding:
    """Return what it means that the clock of ``whose`` is ``offset_s`` ahead of this machine's."""
    if abs(offset_s) < SKEW_NOTICED_S:
        return fine("clock-skew", f"The clocks of this machine and of {whose} agree.")
    side = "behind" if offset_s > 0 else "ahead of"
    says = f"This machine's clock is {span(abs(offset_s))} {side} that of {whose}."
    advice = "find out which is wrong, set it, and keep both right: timedatectl set-ntp true"
    if abs(offset_s) < BACKDATE_S:
        return warning("clock-skew", says, advice)
    return problem(
        "clock-skew",
        f"{says} Certificates that are new count only from {span(BACKDATE_S)} before they are made.",
        advice,
        ExitCode.CORRUPT,
    )


def span(seconds: float) -> str:
    """Return a length of time for people, in its two largest units."""
    left = round(seconds)
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


async def own_name() -> Finding:
    """See whether the machine's own name leads anywhere."""
    name = platform.node()
    try:
        await probing.resolve(name)
    except UnreachableError:
        return warning(
            "name",
            f"The machine's own name, {name}, does not resolve here.",
            "others may know it; else advertise an address, or add the name to DNS or /etc/hosts",
        )
    return fine("name", f"The machine's own name is {name}.")


async def ports(wanted: Mapping[str, Address], links: Links) -> list[Finding]:
    """See whether each address can be listened on: name of its setting to address."""
    found = []
    for setting, address in wanted.items():
        try:
            await links.require_free(address)
        except CollectiveError as error:
            found.append(
                problem(
                    "port",
                    f"{setting}: {error.message}",
                    f"see what listens there (ss -ltnp 'sport = :{address.port}'), end it, or choose"
                    " another port",
                    ExitCode.USAGE,
                )
            )
        else:
            found.append(fine("port", f"{setting}: {address} is free."))
    return found


async def advertised(addresses: Iterable[Address], listening: Address) -> list[Finding]:
    """See whether addresses that others are told lead to this machine."""
    return [await _advertised(address, listening) for address in addresses]


async def _advertised(address: Address, listening: Address) -> Finding:
    try:
        found = await probing.resolve(address.host)
    except UnreachableError as error:
        return problem(
            "address",
            f"{error.message.rstrip('.')}, so others cannot use {address}.",
            "correct advertise_address, or add the name to DNS or /etc/hosts",
            ExitCode.USAGE,
        )
    if all(ip.startswith("127.") or ip == "::1" for ip in found):
        return warning(
            "address",
            f"{address} is this machine alone: nobody else finds it there.",
            "give the address by which others reach it: advertise_address, or --address of init and join",
        )
    if not any(map(is_own, found)):
        return warning(
            "nat",
            f"{address} is no address of this machine, which listens on {listening}:"
            f" {_PRIVATE_HINT}.",
            f"forward port {address.port} there to port {listening.port} here",
        )
    return fine("address", f"{address} leads to this machine.")


def room(what: str, folder: str, disk: Disk, wanted_bytes: int | None = None) -> Finding:
    """See whether the file system of ``folder``, or of what will hold it, has room."""
    there = folder
    while there not in {"/", ""} and not disk.exists(there):
        there = there.rpartition("/")[0] or "/"
    try:
        space = disk.space(there)
    except OSError as error:
        return problem(
            "disk", f"{what}: {there} cannot be looked at: {error.strerror}.", "mount it"
        )
    free = format_size(space.free_bytes)
    if space.read_only:
        return problem(
            "disk",
            f"{what}: {there} is read-only.",
            "mount it writable, or look at the kernel's log",
        )
    if wanted_bytes is not None and wanted_bytes > space.total_bytes:
        return problem(
            "disk",
            f"{what}: {format_size(wanted_bytes)} are to be used, and the whole disk of {there} has"
            f" {format_size(space.total_bytes)}.",
            "lower storage_capacity, or choose another disk by data_dir",
            ExitCode.NOT_ENOUGH,
        )
    if space.free_bytes < ROOM_LEAST_BYTES:
        return problem(
            "disk",
            f"{what}: {there} has {free} free.",
            "free some space, or choose another disk by data_dir; writing resumes by itself",
            ExitCode.NOT_ENOUGH,
        )
    if space.free_bytes < ROOM_LITTLE_BYTES:
        advice = "plan for a larger disk, or another node"
        return warning("disk", f"{what}: {there} has {free} free.", advice)
    return fine("disk", f"{what}: {there} has {free} free.")
