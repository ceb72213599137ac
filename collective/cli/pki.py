"""``collective pki``: explain a certificate, and issue one offline with the CA's key."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from collective.cli.pki_rotate_ca import rotate_ca
from collective.cli.terminal import output
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ConflictError, NotFoundError, UsageError
from collective.core.ids import GlobalId, SpiffeId, parse_node_id
from collective.core.small_files import read_small
from collective.core.units import parse_duration_s
from collective.core.world import World, real_world
from collective.pki import certificates, pem_files
from collective.pki.ca import LEAF_LIFE_MAX_S, CertificateAuthority, authority_owner
from collective.pki.cert_dir import CertDir
from collective.pki.credentials import Credentials, save_credentials
from collective.pki.renewal_times import renewal_due_s

if TYPE_CHECKING:
    from collective.cli.json_shapes import (
        AuthorityJson,
        CertificateJson,
        IssuedJson,
        TimesJson,
    )

app = typer.Typer(
    no_args_is_help=True, help="Certificates: look at one, issue one offline, replace the CA."
)

_USAGES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
}


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate (PEM).")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Explain what a certificate says and whether it is valid now."""
    world = real_world()
    try:
        _require_file(str(file), world.disk)
        certificate = pem_files.load_certificate_file(str(file), disk=world.disk)
        facts = explain(certificate, world.clock.wall_s())
    except CollectiveError as error:
        _fail(error)
    if as_json:
        output.as_json(facts)
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        typer.echo(f"{name.replace('_', ' '):<18}{text}")


@app.command()
def issue(
    ca_key: Annotated[
        Path, typer.Option("--ca-key", help="The CA's key; its .crt lies beside it.")
    ],
    user: Annotated[str | None, typer.Option("--user", metavar="NAME@DOMAIN")] = None,
    bootstrap: Annotated[str | None, typer.Option("--bootstrap", metavar="ID")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="The CA's certificate.")] = None,
    validity: Annotated[str, typer.Option("--validity", help="Like 30d.")] = "30d",
    out: Annotated[Path, typer.Option("--out", help="A cert dir to write into.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Make a key and a certificate for a user or a standalone bootstrap, with the CA alone."""
    try:
        written = issue_files(
            ca_key=str(ca_key),
            ca=str(ca or ca_key.with_suffix(".crt")),
            user=user,
            bootstrap=bootstrap,
            lifetime_s=parse_duration_s(validity),
            out=str(out),
            force=force,
            world=real_world(),
        )
    except CollectiveError as error:
        _fail(error)
    facts: IssuedJson = {
        "identity": str(written.identity),
        "certificate": written.certificate_path,
        "key": written.key_path,
        "ca": written.ca_path,
    }
    if as_json:
        output.as_json(facts)
        return
    for name, value in facts.items():
        output.line(f"{name:<13}{value}")


def issue_files(
    *,
    ca_key: str,
    ca: str,
    user: str | None,
    bootstrap: str | None,
    lifetime_s: float,
    out: str,
    force: bool,
    world: World,
) -> Credentials:
    """Issue offline and write key, CA and certificate below ``out``; see :func:`issue`."""
    if (user is None) == (bootstrap is None):
        raise UsageError("Say for whom: either --user NAME@DOMAIN or --bootstrap ID.")
    if not 0 < lifetime_s <= LEAF_LIFE_MAX_S:
        raise UsageError("A certificate may be valid for at most 400 days.")
    disk = world.disk
    for path in (ca_key, ca):
        _require_file(path, disk)
    authority = CertificateAuthority.load(
        read_small(ca, disk=disk), read_small(ca_key, disk=disk), world
    )
    place = CertDir(out, authority.member)
    if user is not None:
        who = GlobalId.parse(user)
        identity = SpiffeId.user(authority.domain, who)
        paths = place.user_certificate(who), place.user_key(who)
    else:
        name = str(parse_node_id(bootstrap or ""))
        identity = SpiffeId.bootstrap(authority.domain, name)
        paths = place.bootstrap_certificate(name), place.bootstrap_key(name)
    if not force and any(disk.exists(path) for path in paths):
        raise ConflictError(f"{paths[0]} or its key exists already; add --force to replace both.")
    key = certificates.new_private_key(world.randomness)
    return save_credentials(
        paths[0],
        paths[1],
        place.ca_certificate,
        certificate=authority.issue(identity, key.public_key(), lifetime_s=lifetime_s),
        private_key=key,
        authority=authority.certificate,
        disk=disk,
    )


def explain(certificate: x509.Certificate, now_s: float) -> AuthorityJson | CertificateJson:
    """Return what ``certificate`` says, for people and ``--json``; all times are UTC."""
    starts_s = certificate.not_valid_before_utc.timestamp()
    ends_s = certificate.not_valid_after_utc.timestamp()
    states = {now_s < starts_s: "not valid yet", now_s > ends_s: "ran out"}
    times: TimesJson = {
        "serial": certificates.serial_text(certificate),
        "valid_from": _time(starts_s),
        "valid_until": _time(ends_s),
        "state": states.get(True, "valid"),
    }
    if _is_authority(certificate):
        member, domain = authority_owner(certificate)
        digest = certificates.key_digest(certificates.certificate_key(certificate)).hex()
        return {
            "kind": "CA",
            "member": member,
            "trust_domain": domain,
            "key_sha256": digest,
            **times,
        }
    certified = certificates.describe(certificate)
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usages = [_USAGES.get(usage, usage.dotted_string) for usage in extended]
    except x509.ExtensionNotFound:
        usages = []
    return {
        **times,
        "kind": certified.identity.role,
        "identity": str(certified.identity),
        "global_id": str(certified.identity.global_id or ""),
        "trust_domain": certified.identity.trust_domain,
        "key_sha256": certified.key_digest.hex(),
        "usages": usages,
        "addresses": [str(address) for address in certified.addresses],
        "renewal_due": _time(renewal_due_s(certified)),
    }


app.command("rotate-ca")(rotate_ca)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _time(wall_s: float) -> str:
    return dt.datetime.fromtimestamp(wall_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _require_file(path: str, disk: Disk) -> None:
    """Raise NotFoundError where there is no such file: nobody has to join to look at one."""
    if not disk.exists(path):
        raise NotFoundError(f"{path} does not exist; name another file.")


def _fail(error: CollectiveError) -> NoReturn:
    typer.echo(f"Error: {error.message}", err=True)
    raise typer.Exit(error.exit_code) from error
