"""``collective datastore``: top-level paths with owner, copies and quota."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.core.errors import UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.units import format_size, parse_size

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import DatastoreJson
    from collective.client.collective import Collective
    from collective.model.datastores import Datastore

app = typer.Typer(no_args_is_help=True, help="Top-level paths: owner, copies, quota.")

HEADINGS = ("DATASTORE", "OWNER", "COPIES", "USED", "COUNTED", "QUOTA", "FILES")

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="A top-level path.")]
Copies = Annotated[
    int | None,
    typer.Option("--copies", min=0, help="Of each chunk written from now on; 0: the setting."),
]
Quota = Annotated[
    str | None,
    typer.Option("--quota", metavar="SIZE", help="Bytes of files, like 500GB; 0: no limit."),
]
Owner = Annotated[
    str | None,
    typer.Option("--owner", metavar="GLOBAL-ID", help="Has every right there; 'member': nobody."),
]


class Found(NamedTuple):
    """Datastores of a member."""

    domain: Domain
    datastores: Sequence[Datastore]


@app.command()
@command
def create(
    invocation: Invocation,
    path: PathArgument,
    copies: Copies = None,
    quota: Quota = None,
    owner: Owner = None,
) -> None:
    """Make a datastore with a policy (mkdir makes one with the default policy)."""

    async def work(collective: Collective) -> Found:
        made = await collective.datastores.create(
            path, copies=copies or 0, quota_bytes=_quota_bytes(quota) or 0, owner=owner or ""
        )
        return Found(collective.domain, [made])

    _show(invocation, invocation.run(work), one=True)


@app.command("list")
@command
def list_datastores(invocation: Invocation) -> None:
    """List the datastores that you may read."""

    async def work(collective: Collective) -> Found:
        return Found(collective.domain, await collective.datastores.list())

    _show(invocation, invocation.run(work))


@app.command("set")
@command
def set_policy(
    invocation: Invocation,
    path: PathArgument,
    copies: Copies = None,
    quota: Quota = None,
    owner: Owner = None,
) -> None:
    """Change a datastore's owner, copies or quota."""
    if copies is None and quota is None and owner is None:
        raise UsageError("Say what to change: --copies, --quota or --owner.")

    async def work(collective: Collective) -> Found:
        changed = await collective.datastores.set(
            path, copies=copies, quota_bytes=_quota_bytes(quota), owner=owner
        )
        return Found(collective.domain, [changed])

    _show(invocation, invocation.run(work), one=True)


def datastore_json(datastore: Datastore, domain: Domain) -> DatastoreJson:
    """Return a datastore as JSON has it; every field always present.

    ``copies`` is null where the coordinator's setting counts, ``quota_bytes`` where there is none.
    ``used_bytes`` are those of the files; the quota counts ``catalog_bytes`` and ``reserved_bytes`` too.
    """
    return {
        "path": str(datastore.path),
        "owner": str(datastore.owner or SpiffeId.coordinator(domain)),
        "copies": datastore.copies or None,
        "quota_bytes": datastore.quota_bytes or None,
        "used_bytes": datastore.used_bytes,
        "catalog_bytes": datastore.catalog_bytes,
        "reserved_bytes": datastore.reserved_bytes,
        "files": datastore.files,
    }


def _quota_bytes(text: str | None) -> int | None:
    return None if text is None else parse_size(text)


def _show(invocation: Invocation, found: Found, *, one: bool = False) -> None:
    values = [datastore_json(datastore, found.domain) for datastore in found.datastores]
    if invocation.as_json:
        output.as_json(values[0] if one else values)
        return
    output.table(HEADINGS, [_row(datastore) for datastore in found.datastores])


def _row(datastore: Datastore) -> tuple[str, ...]:
    return (
        str(datastore.path),
        str(datastore.owner.global_id if datastore.owner else "the member"),
        str(datastore.copies) if datastore.copies else "default",
        format_size(datastore.used_bytes),
        format_size(datastore.used_bytes + datastore.catalog_bytes + datastore.reserved_bytes),
        format_size(datastore.quota_bytes) if datastore.quota_bytes else "none",
        str(datastore.files),
    )
