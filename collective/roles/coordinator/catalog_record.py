"""What a coordinator keeps beside its certificate: which catalogue is its own.

The catalogue's id stands here *and* in the data dir: an unmounted disk shows as an empty folder, and
a coordinator that began anew there would show its clients a member without files.
"""

from __future__ import annotations

import json
from typing import Final

from collective.catalog.sqlite import holds_catalog
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, DataDirError, NotJoinedError, SettingsError
from collective.core.small_files import read_small, write_atomically
from collective.pki.cert_dir import CertDir

_MODE: Final = 0o600


def record_path(place: CertDir) -> str:
    """Return where the record lies: beside the coordinator's certificate."""
    return place.coordinator_certificate.removesuffix(".crt") + ".json"


def recorded_catalog(place: CertDir, disk: Disk) -> str | None:
    """Return the id of the catalogue that is this coordinator's, None before the first start.

    Raises:
        SettingsError: the record is damaged.
    """
    path = record_path(place)
    try:
        found = json.loads(read_small(path, disk=disk))["catalog_id"]
    except NotJoinedError:
        return None
    except (ValueError, KeyError, TypeError, CollectiveError) as error:
        raise SettingsError(f"{path} is damaged; restore it from a backup.") from error
    if not isinstance(found, str):
        raise SettingsError(f"{path} is damaged; restore it from a backup.")
    return found


def require_catalog(place: CertDir, disk: Disk, data_dir: str) -> None:
    """Refuse to begin anew where a catalogue, or a snapshot of one, should be.

    Raises:
        DataDirError: there is a record and no catalogue.
    """
    if recorded_catalog(place, disk) is not None and not holds_catalog(data_dir, disk):
        raise DataDirError(
            f"No catalogue is in {data_dir}; is the disk mounted? If it is lost, unpack a backup of the"
            f" data dir; to begin without files, remove {record_path(place)}."
        )


def keep_catalog(place: CertDir, disk: Disk, catalog_id: str) -> None:
    """Write the record at the first start; later, refuse another catalogue.

    Raises:
        DataDirError: the data dir holds a catalogue that is not this coordinator's.
    """
    known = recorded_catalog(place, disk)
    if known is None:
        content = json.dumps({"catalog_id": catalog_id}).encode() + b"\n"
        write_atomically(record_path(place), content, permissions=_MODE, disk=disk)
    elif known != catalog_id:
        raise DataDirError(
            f"The data dir holds catalogue {catalog_id}, not {known}; is the right disk mounted? If it"
            f" is right, remove {record_path(place)}."
        )
