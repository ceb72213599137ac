"""``collective init``: a coordinator or a node on this machine, by a few questions or by flags."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.cli.own_command import as_typed
from collective.cli.terminal import output
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.progress import Line
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command
from collective.core.errors import UsageError

if TYPE_CHECKING:
    from collective.cli.json_shapes import SetUpJson
    from collective.pki.invite_code import InviteCode

app = typer.Typer()

ROLES: Final = ("coordinator", "node")

StartOption = Annotated[
    bool | None, typer.Option("--start/--no-start", help="Start it, by systemd where that runs.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Write the file even where a check fails.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace the file; the old one stays as FILE.old.")
]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output", metavar="FILE", help="As root /etc/collective/NAME.toml, else ./NAME.toml."
    ),
]
NameOption = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Of file and unit; default: the role.")
]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="HOST", help="Where others find this machine.")
]
NodeAddressOption = Annotated[
    str | None, typer.Option("--node-address", metavar="HOST:PORT", help="Default: 0.0.0.0:8101.")
]
MetricsOption = Annotated[
    str | None, typer.Option("--metrics-address", metavar="HOST:PORT", help="Default: loopback.")
]
CapacityOption = Annotated[
    str | None,
    typer.Option("--storage-capacity", metavar="SIZE", help="Like 2TB; 'all': what is free."),
]
DataOption = Annotated[
    str | None, typer.Option("--data-dir", metavar="FOLDER", help="Such as a mounted disk.")
]
SilentOption = Annotated[bool, typer.Option("--yes", help="Ask nothing; defaults and flags.")]


@app.command()
@unconnected_command
def init(
    invocation: UnconnectedInvocation,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="coordinator|node", help="Repeatable; both in one process."),
    ] = None,
    member_id: Annotated[str | None, typer.Option("--member-id", metavar="ID")] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="DOMAIN", help="Fixed for good.")
    ] = None,
    address: AddressOption = None,
    coordinator_address: Annotated[
        str | None,
        typer.Option(
            "--coordinator-address",
            metavar="HOST:PORT",
            help="Where it listens, default 0.0.0.0:8001; for a node: where the coordinator is.",
        ),
    ] = None,
    bootstrap_address: Annotated[
        str | None,
        typer.Option("--bootstrap-address", metavar="HOST:PORT", help="Default: 0.0.0.0:9001."),
    ] = None,
    node_address: NodeAddressOption = None,
    metrics_address: MetricsOption = None,
    copies: Annotated[str | None, typer.Option("--copies", metavar="N")] = None,
    storage_capacity: CapacityOption = None,
    data_dir: DataOption = None,
    name: NameOption = "",
    output_file: OutputOption = "",
    start: StartOption = None,
    replace: ReplaceOption = False,
    force: ForceOption = False,
    yes: SilentOption = False,
) -> None:
    """Set up a coordinator or a node here: asks, checks, writes a settings file, and starts it."""
    from collective.cli.setup.choices import (  # noqa: PLC0415 - heavy
        check_data_dir,
        coordinator,
        node,
        require_used,
    )
    from collective.cli.setup.placing import Place  # noqa: PLC0415 - as above
    from collective.cli.setup.questions import Questions  # noqa: PLC0415 - as above
    from collective.cli.unit_files import check_name, default_name  # noqa: PLC0415 - as above

    given = {
        "member_id": member_id,
        "domain": domain,
        "address": address,
        "coordinator_address": coordinator_address,
        "bootstrap_address": bootstrap_address,
        "node_address": node_address,
        "metrics_address": metrics_address,
        "copies": copies,
        "storage_capacity": storage_capacity,
        "data_dir": data_dir,
    }
    questions = Questions(is_silent=yes or invocation.as_json, takes_defaults=yes)
    roles = _roles(role, questions)
    require_used(given, roles)
    place = Place.at(check_name(name or default_name(roles)), output_file)
    place.require_free(is_replaced=replace)
    if "coordinator" in roles:
        chosen = coordinator(questions, given, is_node="node" in roles)
    else:
        chosen = node(questions, given, towards="")
        chosen |= place.code_setting()
    chosen = place.folders() | chosen | check_data_dir(given)
    command = "init " + " ".join(f"--role {one}" for one in roles)
    set_up(invocation, place, roles, chosen, command, force=force)
    is_started = questions.is_agreed(start, "Start it now?", default=False)
    finish(invocation, place, roles, chosen, is_started=is_started)


def _roles(told: list[str] | None, questions: Any) -> list[str]:
    def check(text: str) -> None:
        if not text or any(one not in ROLES for one in text.replace("+", " ").split()):
            raise UsageError(f"There is no role {text!r} to set up; say coordinator or node.")

    text = questions.text(
        " ".join(told) if told else None,
        "--role",
        "What this machine is to be: coordinator, node, or coordinator+node",
        "coordinator",
        check,
    )
    wanted = text.replace("+", " ").split()
    return [one for one in ROLES if one in wanted]


def set_up(
    invocation: UnconnectedInvocation,
    place: Any,
    roles: Sequence[str],
    chosen: Mapping[str, str],
    command: str,
    *,
    code: InviteCode | None = None,
    force: bool,
) -> None:
    """Check what was chosen against the machine, and write the files.

    Raises:
        SettingsError: the settings contradict each other.
        typer.Exit: a check failed, and ``force`` does not go on all the same; nothing was written.
    """
    from collective.cli.diagnosis.findings import (  # noqa: PLC0415 - heavy
        exit_code_of,
        print_findings,
    )
    from collective.cli.setup.preflight import preflight  # noqa: PLC0415 - as above
    from collective.cli.setup.settings_file import settings_text  # noqa: PLC0415 - as above
    from collective.core.settings import file_settings  # noqa: PLC0415 - as above

    text = settings_text(roles, chosen, command)
    settings = file_settings(place.settings, lambda _: text.encode())
    world = invocation.world
    before = place.present()
    line = Line()
    line.show("Checking ports, disk, clock, addresses")
    look = preflight(
        settings,
        place.state,
        code,
        before,
        links=_links(world),
        clock=world.clock,
        disk=world.disk,
    )
    try:
        with ending_in_order():
            findings = asyncio.run(look)
    finally:
        line.clear()
    code_of_ending = exit_code_of(findings)
    is_stopped = bool(code_of_ending) and not force
    if not is_stopped:
        place.write(text, None if code is None else code.encode(), world.disk)
    if invocation.as_json:
        told: SetUpJson = {
            "settings": place.settings,
            "written": not is_stopped,
            "kept": place.kept if before is not None and not is_stopped else None,
            "roles": list(roles),
            "state_dir": place.state,
            "code_file": None if code is None else place.code,
            "findings": [one.as_json() for one in findings],
            "next": place.commands(),
        }
        output.as_json(told)
    else:
        print_findings(findings, with_fine=True)
        if before is not None and not is_stopped:
            output.line(f"Kept         {place.kept}, what the file said before")
    if is_stopped:
        output.note(
            "Error: Nothing was written, because of the problem above; mend it and run this again,"
            " or give --force to write it all the same."
        )
        raise typer.Exit(code_of_ending)


def _links(world: Any) -> Any:
    from collective.rpc.tls_links import TlsLinks  # noqa: PLC0415 - heavy

    return TlsLinks(world)


def finish(
    invocation: UnconnectedInvocation,
    place: Any,
    roles: Sequence[str],
    chosen: Mapping[str, str],
    *,
    is_started: bool,
    has_code: bool = False,
) -> None:
    """Start it, if that is wanted; say what was written, and what comes next.

    Raises:
        OperatorError: the service manager does not start it.
    """
    is_told = not invocation.as_json
    if is_told:
        output.line(f"Settings     {place.settings}")
        output.line(f"State        {place.state}")
        if not is_started:
            output.line("To start it")
            output.lines(f"  {as_typed(one)}" for one in place.commands())
    is_coordinator = "coordinator" in roles
    if is_started and place.is_managed:
        place.start(is_waited_for=is_coordinator)
        if is_told:
            output.line(f"Started      {place.unit}")
    if is_told and is_coordinator:
        _tell_of_a_coordinator(place, chosen)
    elif is_told and not is_started and not has_code:
        output.line(f"Join code    into {place.code} (0600), from its coordinator's operator:")
        output.line("               collective invite generate --for node")
    if is_started and not place.is_managed:
        place.start(is_waited_for=False)  # does not come back


def _tell_of_a_coordinator(place: Any, chosen: Mapping[str, str]) -> None:
    """Say how nodes come to it, and how to see whether it is well."""
    option = "" if place.is_for_units else f" --config {shlex.quote(place.settings)}"
    output.line(f"Look         {as_typed(f'collective doctor{option}')}")
    output.line(
        f"More nodes   collective join - --as node, with {place.state}/certs/join/node.code"
    )
    if chosen["copies"] == "1":
        output.line(
            "One copy     of each file: nothing survives a disk. Once there are more nodes, raise"
        )
        output.line(f"             copies in {place.settings}, and restart.")
