"""``collective identity``: who this machine acts for, and which collectives it has joined."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.connecting import open_store, warn_exposed
from collective.cli.identity_devices import add_device, list_identities, revoke
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask
from collective.cli.terminal.passphrases import PASSPHRASE_VARIABLE, new_passphrase
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command
from collective.client.identity.documents import Identity, JoinedCollective, check_display_name
from collective.client.identity.store import IdentityStore
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, NotJoinedError
from collective.core.ids import GlobalId
from collective.pki import pem_files

if TYPE_CHECKING:
    from collective.cli.json_shapes import CollectiveJson, IdentityJson, LeftJson

app = typer.Typer(no_args_is_help=True, help="Who you are, and which collectives you have joined.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name, member id or domain.")]


@app.command()
@unconnected_command
def init(
    invocation: UnconnectedInvocation,
    global_id: Annotated[
        str, typer.Option("--global-id", metavar="NAME@DOMAIN", help="Your name everywhere.")
    ],
    display_name: Annotated[
        str, typer.Option("--display-name", metavar="TEXT", help="For people to read.")
    ] = "",
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help=f"Protect the key; asked for, or taken from {PASSPHRASE_VARIABLE}.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the identity that is there.")
    ] = False,
) -> None:
    """Make an identity: a key that never leaves this machine, and your global id."""
    check_display_name(display_name)
    who = GlobalId.parse(global_id)
    store = open_store(invocation.world)
    aside = store.create_identity(
        who,
        display_name=display_name,
        passphrase=new_passphrase(is_wanted=passphrase),
        force=force,
    )
    if aside is not None:
        output.note(f"The identity before, its key and its collectives are kept in {aside}")
    _show(store, invocation)


@app.command()
@unconnected_command
def show(invocation: UnconnectedInvocation) -> None:
    """Show the identity of this machine."""
    store = open_store(invocation.world)
    warn_exposed(store.place.key)
    _show(store, invocation)


@app.command("list-collectives")
@unconnected_command
def list_collectives(invocation: UnconnectedInvocation) -> None:
    """List what this machine has joined; the current one has a star."""
    store = open_store(invocation.world)
    current = store.current()
    facts = [
        collective_json(store, one, current, invocation.world.disk) for one in store.collectives()
    ]
    if invocation.as_json:
        output.as_json(facts)
        return
    if not facts:
        output.note("Nothing is joined yet; join via invite: collective invite redeem CODE")
        return
    rows = [
        (
            "*" if one["current"] else "",
            one["name"],
            one["member_id"],
            one["domain"],
            one["global_id"],
            ", ".join(one["coordinator_addresses"]),
            output.shown_time(one["certificate_expires"], "unreadable"),
        )
        for one in facts
    ]
    output.table(("", "NAME", "MEMBER", "DOMAIN", "YOU ARE", "COORDINATOR", "CERTIFICATE"), rows)


@app.command()
@unconnected_command
def switch(invocation: UnconnectedInvocation, name: NameArgument) -> None:
    """Use another collective from now on."""
    store = open_store(invocation.world)
    chosen = store.switch(name)
    if invocation.as_json:
        output.as_json(collective_json(store, chosen, chosen, invocation.world.disk))
        return
    output.line(f"Current collective: {chosen.name}")
    if os.environ.get("COLLECTIVE_CURRENT"):
        output.note("Warning: COLLECTIVE_CURRENT is set in this shell and has precedence.")
    if any(os.environ.get(f"COLLECTIVE_{name}") for name in ("CA", "CERT", "KEY")):
        output.note(
            "Warning: COLLECTIVE_CA, _CERT or _KEY is set in this shell and has precedence; unset"
            " them, or give --collective with each command."
        )


@app.command()
@unconnected_command
def leave(invocation: UnconnectedInvocation, name: NameArgument, yes: YesOption = False) -> None:
    """Forget a collective on this machine; your files there stay as they are."""
    ask(f"Forget {name} on this machine?", f"{name} was not left.", yes=yes)
    store = open_store(invocation.world)
    gone, current = store.leave(name)
    if invocation.as_json:
        left: LeftJson = {"left": gone.name, "current": current.name if current else None}
        output.as_json(left)
        return
    output.line(f"Left {gone.name}; to come back, redeem its invite again or ask for a new one.")
    if current:
        output.line(f"Current collective: {current.name}")
    elif store.collectives():
        output.note("No collective is current; choose one: collective identity switch NAME")
    else:
        output.note("Nothing is joined any more; join via invite: collective invite redeem CODE")


app.command("add-device")(add_device)
app.command("list")(list_identities)
app.command()(revoke)


def collective_json(
    store: IdentityStore, one: JoinedCollective, current: JoinedCollective | None, disk: Disk
) -> CollectiveJson:
    """Return a joined collective as JSON has it."""
    return {
        "name": one.name,
        "member_id": one.member,
        "domain": one.domain,
        "global_id": one.global_id,
        "identity": str(one.identity),
        "coordinator_addresses": [str(address) for address in one.coordinator_addresses],
        "bootstrap_addresses": [str(address) for address in one.bootstrap_addresses],
        "current": current is not None and current.name == one.name,
        "joined": output.when(one.joined_ms),
        "certificate_expires": _certificate_expires(store, one, disk),
    }


def _certificate_expires(store: IdentityStore, one: JoinedCollective, disk: Disk) -> str | None:
    try:
        path = store.place.certificate(one.name)
        certificate = pem_files.load_certificate_file(path, disk=disk)
    except CollectiveError:
        return None
    return output.when(round(certificate.not_valid_after_utc.timestamp() * 1000))


def _show(store: IdentityStore, invocation: UnconnectedInvocation) -> None:
    identity = store.identity()
    if identity is None:
        raise NotJoinedError(
            "This machine has no identity yet; run: collective identity init --global-id"
            " name@domain (or redeem an invite)."
        )
    facts = _identity_json(store, identity, invocation.world.disk)
    if invocation.as_json:
        output.as_json(facts)
        return
    output.line(f"Global id     {facts['global_id']}")
    if identity.display_name:
        output.line(f"Display name  {identity.display_name}")
    output.line(f"Key           {facts['key']}{' (passphrase)' if facts['passphrase'] else ''}")
    if facts["key_sha256"]:
        output.line(f"Key SHA-256   {facts['key_sha256']}")
    output.line(f"Collectives   {', '.join(facts['collectives']) or 'none yet'}")
    output.line(f"Current       {facts['current'] or 'none'}")


def _identity_json(store: IdentityStore, identity: Identity, disk: Disk) -> IdentityJson:
    has_passphrase = pem_files.is_encrypted_key(store.place.key, disk=disk)
    digest = store.key_digest()
    current = store.current()
    return {
        "global_id": str(identity.global_id),
        "display_name": identity.display_name,
        "created": output.when(identity.created_ms),
        "key": store.place.key,
        "key_sha256": digest.hex() if digest else None,
        "passphrase": has_passphrase,
        "config_dir": store.place.path,
        "collectives": [one.name for one in store.collectives()],
        "current": current.name if current else None,
    }
