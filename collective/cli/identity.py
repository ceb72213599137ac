"""``collective identity``: who this machine acts for, and which collectives it has joined."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.cli import output
from collective.cli.options import (
    PASSPHRASE_VARIABLE,
    Invocation,
    LocalInvocation,
    command,
    local_command,
    open_store,
    warn_exposed,
)
from collective.client.identity.model import (
    DISPLAY_NAME_MAX_CHARS,
    Identity,
    JoinedCollective,
)
from collective.client.identity.store import IdentityStore
from collective.core.disk import OsDisk
from collective.core.errors import CollectiveError, NotJoinedError, UsageError
from collective.core.ids import GlobalId
from collective.pki import certificates, files

if TYPE_CHECKING:  # heavy, and needed by few commands
    from collective.rpc.gen.collective.v1 import CertificateStatus, DeviceStatus, IdentityStatus

_SHOWN_CERTIFICATES: Final = 2
"""The newest certificates of a device that the table shows; ``--json`` shows more."""

app = typer.Typer(no_args_is_help=True, help="Who you are, and which collectives you have joined.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name, member id or domain.")]


@app.command()
@local_command
def init(
    invocation: LocalInvocation,
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
    if len(display_name) > DISPLAY_NAME_MAX_CHARS or not display_name.isprintable():
        raise UsageError(
            f"A display name has at most {DISPLAY_NAME_MAX_CHARS} printable characters."
        )
    who = GlobalId.parse(global_id)
    store = open_store()
    store.create_identity(
        who,
        display_name=display_name,
        passphrase=new_passphrase(is_wanted=passphrase),
        force=force,
    )
    _show(store, invocation)


@app.command()
@local_command
def show(invocation: LocalInvocation) -> None:
    """Show the identity of this machine."""
    store = open_store()
    warn_exposed(store.place.key)
    _show(store, invocation)


@app.command("list-collectives")
@local_command
def list_collectives(invocation: LocalInvocation) -> None:
    """List what this machine has joined; the current one has a star."""
    store = open_store()
    current = store.current()
    facts = [collective_json(store, one, current) for one in store.collectives()]
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
            (one["certificate_expires"] or "unreadable")[:19].replace("T", " "),
        )
        for one in facts
    ]
    output.table(("", "NAME", "MEMBER", "DOMAIN", "YOU ARE", "COORDINATOR", "CERTIFICATE"), rows)


@app.command()
@local_command
def switch(invocation: LocalInvocation, name: NameArgument) -> None:
    """Use another collective from now on."""
    store = open_store()
    chosen = store.switch(name)
    if invocation.as_json:
        output.as_json(collective_json(store, chosen, chosen))
        return
    output.line(f"Current collective: {chosen.name}")
    if os.environ.get("COLLECTIVE_CURRENT"):
        output.note("Warning: COLLECTIVE_CURRENT is set in this shell and has precedence.")


@app.command()
@local_command
def leave(invocation: LocalInvocation, name: NameArgument) -> None:
    """Forget a collective on this machine; your files there stay as they are."""
    gone, current = open_store().leave(name)
    if invocation.as_json:
        output.as_json({"left": gone.name, "current": current.name if current else None})
        return
    output.line(f"Left {gone.name}; to come back, redeem its invite again or ask for a new one.")
    if current:
        output.line(f"Current collective: {current.name}")
    else:
        output.note("No collective is current; choose one: collective identity switch NAME")


@app.command("add-device")
@command
def add_device(
    invocation: Invocation,
    validity: Annotated[
        str, typer.Option("--validity", help="How long the code is good; like 15m.")
    ] = "15m",
) -> None:
    """Let a further machine act for you: makes a code, good once, to be redeemed there."""
    from collective.client.collective import Collective  # noqa: PLC0415 - heavy
    from collective.core.units import parse_duration_s  # noqa: PLC0415
    from collective.rpc.gen.collective.v1 import GenerateInviteResponse  # noqa: PLC0415

    validity_s = parse_duration_s(validity)

    async def work(collective: Collective) -> GenerateInviteResponse:
        return await collective.people.add_device(validity_s=validity_s)

    made = invocation.run(work)
    expires = output.when(made.invite.expires_ms) if made.invite else None
    if invocation.as_json:
        output.as_json({"code": made.code, "join_url": made.join_url, "expires": expires})
        return
    output.note("On the other machine, run within the time given:")
    output.note(f"  collective invite redeem {made.code}")
    output.note(f"It is good once, until {expires or 'it is used'}, and makes that machine you.")
    output.line(made.code)


@app.command("list")
@command
def list_identities(invocation: Invocation) -> None:
    """List who joined, with the key of each of his devices: all to an admin, else yourself."""
    from collective.client.collective import Collective  # noqa: PLC0415 - heavy

    async def work(collective: Collective) -> Sequence[IdentityStatus]:
        return await collective.people.identities()

    found = invocation.run(work)
    if invocation.as_json:
        output.as_json([_listed_json(one) for one in found])
        return
    if not found:
        output.note("Nobody has joined yet; invite people: collective invite generate")
        return
    rows = [
        (
            one.global_id if number == 0 else "",
            f"key:{device.key_digest.hex()}" if device.key_digest else "key not seen yet",
            ", ".join(f"serial:{each.serial}" for each in _newest(device)) or "none",
            _until(device),
            "revoked" if device.revoked else "by the operator" if device.issued_offline else "",
        )
        for one in found
        for number, device in enumerate(one.devices)
    ]
    output.table(("WHO", "DEVICE", "CERTIFICATES", "UNTIL", ""), rows)


@app.command()
@command
def revoke(
    invocation: Invocation,
    who: Annotated[
        str,
        typer.Argument(
            metavar="NAME@DOMAIN|SPIFFE-ID|serial:HEX|key:HEX", help="Whom to shut out."
        ),
    ],
) -> None:
    """Shut someone out within seconds, for good: his certificates, grants and open invites end.

    A certificate (serial:HEX) is revoked with its key, so one machine is shut out; a key by
    key:HEX. Both are told by: collective identity list
    """
    from collective.client.collective import Collective  # noqa: PLC0415 - heavy
    from collective.rpc.gen.collective.v1 import RevokeIdentityResponse  # noqa: PLC0415

    async def work(collective: Collective) -> RevokeIdentityResponse:
        return await collective.people.revoke_identity(who)

    done = invocation.run(work)
    if invocation.as_json:
        output.as_json(
            {
                "revoked": who,
                "entries": list(done.revoked),
                "revocation_epoch": done.revocation_epoch,
                "connections_closed": done.connections_closed,
            }
        )
    else:
        output.line(
            f"{who} is shut out here; nodes follow within seconds. {done.connections_closed}"
            " connections were closed."
        )
        _tell_of_key(who, done.revoked)


def _tell_of_key(who: str, revoked: Sequence[str]) -> None:
    if not who.startswith("serial:"):
        return
    keys = [entry for entry in revoked if entry.startswith("key:")]
    if keys:
        output.line(f"Its key is revoked as well, so no other certificate of it counts: {keys[0]}")
    else:
        output.note(
            "Warning: this certificate was never seen here, so its key is not known, and another"
            " certificate of the same key would count; revoke key:HEX too ('collective pki show"
            " FILE' tells it)."
        )


def _newest(device: DeviceStatus) -> Sequence[CertificateStatus]:
    return device.certificates[:_SHOWN_CERTIFICATES]


def _until(device: DeviceStatus) -> str:
    ends = [one.expires_ms for one in device.certificates]
    return (output.when(max(ends)) or "")[:19].replace("T", " ") if ends else ""


def _listed_json(one: IdentityStatus) -> dict[str, Any]:
    return {
        "global_id": one.global_id,
        "identity": one.principal,
        "display_name": one.display_name,
        "invited_by": one.invited_by,
        "joined": output.when(one.joined_ms),
        "revoked": one.revoked,
        "devices": [
            {
                "key_sha256": device.key_digest.hex() or None,
                "added": output.when(device.added_ms) if device.added_ms else None,
                "issued_offline": device.issued_offline,
                "revoked": device.revoked,
                "certificates": [
                    {
                        "serial": each.serial,
                        "expires": output.when(each.expires_ms),
                        "revoked": each.revoked,
                    }
                    for each in device.certificates
                ],
            }
            for device in one.devices
        ],
    }


def new_passphrase(*, is_wanted: bool) -> bytes | None:
    """Return the passphrase for a new key: the variable's, else asked for twice if wanted."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given.encode()
    if not is_wanted:
        return None
    if not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask on; set {PASSPHRASE_VARIABLE}.")
    import getpass  # noqa: PLC0415 - only where it is asked for

    first = getpass.getpass("Passphrase for the new key: ")
    if not first or first != getpass.getpass("The same again: "):
        raise UsageError("The passphrases are empty or differ; try again.")
    return first.encode()


def collective_json(
    store: IdentityStore, one: JoinedCollective, current: JoinedCollective | None
) -> dict[str, Any]:
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
        "certificate_expires": _certificate_expires(store, one),
    }


def _certificate_expires(store: IdentityStore, one: JoinedCollective) -> str | None:
    try:
        path = store.place.certificate(one.name)
        certificate = files.load_certificate_file(path, disk=OsDisk())
    except CollectiveError:
        return None
    return output.when(round(certificate.not_valid_after_utc.timestamp() * 1000))


def _show(store: IdentityStore, invocation: LocalInvocation) -> None:
    identity = store.identity()
    if identity is None:
        raise NotJoinedError(
            "This machine has no identity yet; run: collective identity init --global-id"
            " name@domain (or redeem an invite)."
        )
    facts = _identity_json(store, identity)
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


def _identity_json(store: IdentityStore, identity: Identity) -> dict[str, Any]:
    disk = OsDisk()
    has_passphrase = files.is_encrypted_key(store.place.key, disk=disk)
    digest = None
    if not has_passphrase:
        key = files.load_key_file(store.place.key, disk=disk)
        digest = certificates.key_digest(key.public_key()).hex()
    current = store.current()
    return {
        "global_id": str(identity.global_id),
        "display_name": identity.display_name,
        "created": output.when(identity.created_ms),
        "key": store.place.key,
        "key_sha256": digest,
        "passphrase": has_passphrase,
        "config_dir": store.place.path,
        "collectives": [one.name for one in store.collectives()],
        "current": current.name if current else None,
    }
