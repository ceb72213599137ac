"""The operator of a member, on the machine of its coordinator: whoever may read the coordinator's key.

Looks at the settings of this machine's units alone.  Nothing is granted by it: the key is root's and the
unit's own to read, and only its certificate counts at the coordinator.
"""

from __future__ import annotations

import os
import posixpath
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from collective.cli.setup.placing import Place
from collective.core.errors import CollectiveError, NotJoinedError, UsageError
from collective.core.settings import ServeSettings, file_settings
from collective.core.small_files import read_small
from collective.core.units import Address
from collective.pki.cert_dir import CertDir

if TYPE_CHECKING:
    from collective.core.disk import Disk
    from collective.core.ids import Domain


class Operator(NamedTuple):
    """As whom the operator connects, and where the coordinator listens."""

    domain: Domain
    certificate: str
    key: str
    ca: str
    address: Address


def operator_here(folder: str, disk: Disk) -> Operator | None:
    """Return the operator of the one member whose coordinator has its settings in ``folder``.

    None where there is no coordinator.

    Raises:
        NotJoinedError: there is one, and this user may not read its key, or it never ran.
        UsageError: there are several.
    """
    found = [one for path in settings_files(folder, disk) if (one := _operator_at(path, disk))]
    if len(found) > 1:
        raise UsageError(
            f"The coordinators of several members are here ({', '.join(str(one.domain) for one in found)});"
            " say whose operator you are by --ca, --cert and --key."
        )
    if not found:
        return None
    if not os.access(found[0].key, os.R_OK, effective_ids=True):
        raise NotJoinedError(_why_not(found[0]))
    return found[0]


def settings_files(folder: str, disk: Disk) -> list[str]:
    """Return the settings files in ``folder``, in order."""
    if not disk.exists(folder):
        return []
    names = sorted(one.name for one in disk.list_dir(folder) if one.name.endswith(".toml"))
    return [posixpath.join(folder, name) for name in names]


def _operator_at(path: str, disk: Disk) -> Operator | None:
    try:
        settings = file_settings(path, partial(read_small, disk=disk))
    except CollectiveError:  # the doctor says what is wrong with it
        return None
    member, address = settings.member_id, settings.coordinator_address
    if "coordinator" not in settings.roles or settings.domain is None:
        return None
    if member is None or address is None:
        return None
    place = CertDir(_cert_dir(Place.of(path), settings), member)
    return Operator(
        settings.domain,
        place.coordinator_certificate,
        place.coordinator_key,
        place.ca_certificate,
        address.near,
    )


def _cert_dir(place: Place, settings: ServeSettings) -> str:
    return posixpath.join(place.state if place.is_for_units else os.curdir, settings.cert_dir)


def _why_not(operator: Operator) -> str:
    if os.geteuid() == 0:
        return (
            f"The coordinator of {operator.domain} is set up here and has no certificate yet; start"
            " it, or see what is wrong: collective doctor"
        )
    return (
        "You need to join via invite first: collective invite redeem CODE. The operator of"
        f" {operator.domain} is root, on this machine: put sudo before the command."
    )
