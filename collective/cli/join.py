"""``collective join CODE``: a node or a person on this machine, by one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.code_input import (
    CodeArgument,
    CodeFileOption,
    admitted,
    code_given,
    require_for,
)
from collective.cli.init import (
    AddressOption,
    CapacityOption,
    DataOption,
    ForceOption,
    MetricsOption,
    NameOption,
    NodeAddressOption,
    OutputOption,
    ReplaceOption,
    SilentOption,
    StartOption,
    finish,
    set_up,
)
from collective.cli.terminal import output
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command
from collective.core.errors import UsageError

if TYPE_CHECKING:
    from collective.pki.invite_code import InviteCode

app = typer.Typer()

KINDS: Final = ("person", "node")


@app.command()
@unconnected_command
def join(
    invocation: UnconnectedInvocation,
    code: CodeArgument = None,
    file: CodeFileOption = None,
    as_what: Annotated[
        str | None,
        typer.Option("--as", metavar="person|node", help="Default: as the code says."),
    ] = None,
    global_id: Annotated[
        str | None,
        typer.Option("--global-id", metavar="NAME@DOMAIN", help="A person's name everywhere."),
    ] = None,
    display_name: Annotated[str, typer.Option("--display-name", metavar="TEXT")] = "",
    address: AddressOption = None,
    coordinator_address: Annotated[
        str | None,
        typer.Option("--coordinator-address", metavar="HOST:PORT", help="Else as the code leads."),
    ] = None,
    node_address: NodeAddressOption = None,
    metrics_address: MetricsOption = None,
    storage_capacity: CapacityOption = None,
    data_dir: DataOption = None,
    name: NameOption = "",
    output_file: OutputOption = "",
    start: StartOption = None,
    replace: ReplaceOption = False,
    force: ForceOption = False,
    yes: SilentOption = False,
) -> None:
    """Join by a code: a node is set up and started, a person gets an identity and a certificate."""
    from collective.cli.setup.questions import Questions  # noqa: PLC0415 - heavy

    # before anything else, and without asking anyone
    parsed = code_given(code, file, invocation.world.disk)
    given = {
        "address": address,
        "coordinator_address": coordinator_address,
        "node_address": node_address,
        "metrics_address": metrics_address,
        "storage_capacity": storage_capacity,
        "data_dir": data_dir,
    }
    questions = Questions(is_silent=yes or invocation.as_json)
    told_of_a_node = (
        any(value is not None for value in [*given.values(), start])
        or bool(output_file or name)
        or replace
        or force
    )
    if as_what is None and told_of_a_node:
        as_what = "node"
    told_of_a_person = global_id is not None or bool(display_name)
    if as_what is None and parsed.kind is not None:
        # the code says it, but for flags of the other kind
        is_for_a_node = admitted(parsed) == "a node" and not told_of_a_person
        as_what = "node" if is_for_a_node else "person"
    kind = questions.text(
        as_what,
        "--as",
        "Do you join as a person, or does this machine store chunks as a node (person, node)",
        "person",
        _check_kind,
    )
    require_for(parsed, f"a {kind}")
    if kind == "person":
        if told_of_a_node:
            raise UsageError(
                "A person has no addresses, disk, settings file or process; give --as node."
            )
        _join_person(invocation, questions, parsed, global_id, display_name)
        return
    if told_of_a_person:
        raise UsageError("A node has no --global-id and no --display-name; give --as person.")
    from collective.cli.setup.choices import check_data_dir, node  # noqa: PLC0415 - as above
    from collective.cli.setup.placing import Place  # noqa: PLC0415 - as above
    from collective.cli.unit_files import check_name  # noqa: PLC0415 - as above

    place = Place.at(check_name(name or "node"), output_file)
    place.require_free(is_replaced=replace)
    chosen = node(questions, given, towards=parsed.addresses[0].host)
    chosen = place.folders() | chosen | check_data_dir(given) | {"join_code_file": place.code}
    set_up(invocation, place, ["node"], chosen, "join", code=parsed, force=force)
    is_started = questions.is_agreed(start, "Start it now?", default=True)
    from collective.cli.setup.waiting import run_of, wait_until_enrolled  # noqa: PLC0415 - as above

    former = run_of(place)
    # without systemd this process becomes the node, and says itself how far it is
    finish(invocation, place, ["node"], chosen, is_started=is_started, has_code=True)
    if is_started:
        wait_until_enrolled(place, invocation.world, after=former)
        if not invocation.as_json:
            output.line("Joined       the node has its certificate, and its coordinator knows it.")


def _check_kind(text: str) -> None:
    if text not in KINDS:
        raise UsageError(
            f"A code is for a person or a node, not for a {text!r}; give --as person or --as node."
        )


def _join_person(
    invocation: UnconnectedInvocation,
    questions: object,
    code: InviteCode,
    global_id: str | None,
    display_name: str,
) -> None:
    """Make an identity where there is none, and redeem the code."""
    from collective.cli.connecting import open_store  # noqa: PLC0415 - heavy
    from collective.cli.invite_redeem import redeem_here  # noqa: PLC0415 - as above
    from collective.cli.setup.questions import Questions  # noqa: PLC0415 - as above
    from collective.cli.terminal.passphrases import new_passphrase  # noqa: PLC0415 - as above
    from collective.client.identity.documents import check_display_name  # noqa: PLC0415 - as above
    from collective.core.ids import GlobalId  # noqa: PLC0415 - as above

    assert isinstance(questions, Questions)
    check_display_name(display_name)
    store = open_store(invocation.world)
    present = store.identity()
    if present is not None:
        if display_name:
            raise UsageError(
                f"This machine's identity {present.global_id} has its display name already; join"
                " without --display-name."
            )
        if global_id is not None and str(GlobalId.parse(global_id)) != str(present.global_id):
            raise UsageError(
                f"This machine's identity is {present.global_id}; join without --global-id, or"
                " replace it: collective identity init --force"
            )
    else:
        nobody = "-"

        def check(text: str) -> None:
            if text != nobody:
                GlobalId.parse(text)

        wanted = questions.text(
            global_id,
            "--global-id",
            "Your name everywhere, NAME@DOMAIN ('-': the one who invited you names you)",
            nobody,
            check,
        )
        if wanted != nobody:
            store.create_identity(
                GlobalId.parse(wanted),
                display_name=display_name,
                passphrase=new_passphrase(is_wanted=False),
                force=False,
            )
            output.note(f"Made the identity {wanted}; its key never leaves this machine.")
    redeem_here(code, invocation.world, as_json=invocation.as_json)
