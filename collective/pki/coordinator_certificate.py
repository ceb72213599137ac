"""What a coordinator's start makes in its cert dir: the member's CA, its own key and certificate.

Refuses the cert dir of another member, and a CA without its key.  Key and certificate are replaced
together: a crash between the two renames leaves a key without its certificate, for which the next
start makes both anew.  Blocking; async callers use an executor.
"""

from __future__ import annotations

import posixpath

from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.ids import Domain, SpiffeId
from collective.core.small_files import read_small
from collective.core.units import Address
from collective.core.world import World
from collective.pki import certificates
from collective.pki.ca import LEAF_LIFE_S, CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.credentials import Credentials, fits
from collective.pki.pem_files import (
    load_authorities_file,
    load_certificate_file,
    load_key_file,
    load_or_create_key,
    replace_pair,
    write_certificate,
)


def prepare_coordinator(
    place: CertDir,
    domain: Domain,
    addresses: tuple[Address, ...],
    world: World,
    *,
    lifetime_s: float = LEAF_LIFE_S,
) -> tuple[CertificateAuthority, Credentials]:
    """Return CA and coordinator credentials, making or renewing whatever is missing or due.

    The certificate is issued anew when it is absent, past two thirds of its life, of another CA, or
    when ``addresses`` (those advertised) are no longer the ones it carries.  **A key lives as long
    as the CA that certified it**: whenever the certificate is not of the CA that signs now, or does
    not belong to the key, there is a new key.  So a CA's replacement ends the key that a thief may
    have, and a crash at any point of it is mended by the next start.
    """
    disk = world.disk
    authority = load_or_create_authority(place, domain, world)
    identity = SpiffeId.coordinator(domain)
    found = _present_pair(place, authority, disk)
    if found is not None and _still_good(found, identity, addresses, world.clock.wall_s()):
        return authority, found
    key = found.private_key if found else certificates.new_private_key(world.randomness)
    certificate = authority.issue(
        identity, key.public_key(), lifetime_s=lifetime_s, addresses=addresses
    )
    if found is None:
        replace_pair(
            place.coordinator_key, place.coordinator_certificate, key, certificate, disk=disk
        )
    else:
        write_certificate(place.coordinator_certificate, certificate, disk=disk)
    return authority, Credentials(
        place.coordinator_certificate,
        place.coordinator_key,
        place.ca_certificate,
        certificate,
        key,
        authority.certificate,
        load_authorities_file(place.ca_certificate, disk=disk),
    )


def load_or_create_authority(place: CertDir, domain: Domain, world: World) -> CertificateAuthority:
    """Return the member's CA, made and written durably at the first start.

    Raises SettingsError when its key is missing, or when it is of another domain or member.
    """
    disk = world.disk
    if not disk.exists(place.ca_certificate):
        _refuse_another_members(place, disk)
        # The key goes first; one without a certificate is a first start that was interrupted.
        key = load_or_create_key(place.ca_key, world)
        authority = CertificateAuthority.create(place.member, domain, world, key=key)
        write_certificate(place.ca_certificate, authority.certificate, disk=disk)
        return authority
    if not disk.exists(place.ca_key):
        raise SettingsError(f"The CA's key {place.ca_key} is missing; restore it from a backup.")
    authority = CertificateAuthority.load(
        read_small(place.ca_certificate, disk=disk), read_small(place.ca_key, disk=disk), world
    )
    if authority.domain != domain or authority.member != place.member:
        raise SettingsError(
            f"The CA belongs to {authority.member} ({authority.domain}), not to {place.member}"
            f" ({domain}); correct COLLECTIVE_MEMBER_ID and COLLECTIVE_DOMAIN."
        )
    return authority


def _refuse_another_members(place: CertDir, disk: Disk) -> None:
    """Raise SettingsError where the cert dir has the CA of another member, key and all."""
    folder = posixpath.dirname(place.ca_key)
    own = posixpath.basename(place.ca_key)
    suffix = own.removeprefix(place.member)
    for entry in disk.list_dir(folder) if disk.exists(folder) else ():
        if entry.name.endswith(suffix) and entry.name != own:
            raise SettingsError(
                f"The CA belongs to {entry.name.removesuffix(suffix)}, not to {place.member};"
                " correct COLLECTIVE_MEMBER_ID, or give each member a cert dir of its own."
            )


def _present_pair(
    place: CertDir, authority: CertificateAuthority, disk: Disk
) -> Credentials | None:
    """Return the coordinator's key and certificate if they fit, and ``authority`` signed them."""
    key_path, certificate_path = place.coordinator_key, place.coordinator_certificate
    if not (disk.exists(key_path) and disk.exists(certificate_path)):
        return None
    certificate = load_certificate_file(certificate_path, disk=disk)
    key = load_key_file(key_path, disk=disk)
    if not fits(key, certificate) or not certificates.is_signed_by(
        certificate, authority.certificate
    ):
        return None
    authorities = load_authorities_file(place.ca_certificate, disk=disk)
    return Credentials(
        certificate_path,
        key_path,
        place.ca_certificate,
        certificate,
        key,
        authority.certificate,
        authorities,
    )


def _still_good(
    found: Credentials, identity: SpiffeId, addresses: tuple[Address, ...], now_s: float
) -> bool:
    certified = found.certified
    life_s = certified.expires_s - certified.not_before_s
    return (
        certified.identity == identity
        and certified.addresses == addresses
        and certified.not_before_s <= now_s < certified.not_before_s + life_s * 2 / 3
    )
