"""What a node keeps beside its certificate: which data dir is its own, and where to find others.

The store's uuid stands here *and* in the data dir: an unmounted disk shows as an empty folder, and
a node that took it for a fresh store would lose its copies without a word.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from typing import Any, Final

from collective.core.disk import Disk
from collective.core.errors import CollectiveError, NotJoinedError, SettingsError
from collective.core.ids import NodeId, StoreUuid, parse_hex_id
from collective.core.small_files import read_small, write_atomically
from collective.core.units import Address
from collective.pki.cert_dir import nodes_folder

RECORD_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class NodeNotes:
    """The record of one node."""

    store_uuid: StoreUuid | None = None
    """None until the first store was opened."""
    coordinator_addresses: tuple[Address, ...] = ()
    bootstrap_addresses: tuple[Address, ...] = ()


def record_path(cert_dir: str, node: NodeId) -> str:
    """Return where the record of ``node`` lies."""
    return posixpath.join(nodes_folder(cert_dir), f"{node}.json")


def load_notes(path: str, disk: Disk) -> NodeNotes:
    """Return the record at ``path``, an empty one if there is none.

    Raises:
        SettingsError: it is damaged, or of a newer version.
    """
    try:
        fields: dict[str, Any] = json.loads(read_small(path, disk=disk))
        is_newer = int(fields["format"]) > RECORD_FORMAT
        notes = NodeNotes() if is_newer else _notes_in(fields)
    except NotJoinedError:
        return NodeNotes()
    except (ValueError, KeyError, TypeError, AttributeError, CollectiveError) as error:
        raise SettingsError(f"{path} is damaged; restore it from a backup.") from error
    if is_newer:
        raise SettingsError(f"{path} was written by a newer version; update this program.")
    return notes


def _notes_in(fields: dict[str, Any]) -> NodeNotes:
    uuid = fields["store_uuid"]
    return NodeNotes(
        StoreUuid(parse_hex_id(uuid)) if uuid else None,
        tuple(Address.parse_stored(text) for text in fields["coordinator_addresses"]),
        tuple(Address.parse_stored(text) for text in fields["bootstrap_addresses"]),
    )


def save_notes(path: str, notes: NodeNotes, disk: Disk) -> None:
    """Write the record durably."""
    raw = json.dumps(
        {
            "format": RECORD_FORMAT,
            "store_uuid": notes.store_uuid or "",
            "coordinator_addresses": [str(one) for one in notes.coordinator_addresses],
            "bootstrap_addresses": [str(one) for one in notes.bootstrap_addresses],
        },
        indent=1,
    ).encode()
    write_atomically(path, raw, permissions=0o600, disk=disk)
