"""What the simulator sets smaller or shorter than the product does, so that a run is short, and nothing else.

Sizes and times only, and results of pure functions that are kept: no decision is touched.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NoReturn
from unittest import mock

import structlog
from cryptography import x509
from prometheus_client import Counter, Gauge, Histogram

from collective.catalog.decisions import copies as copy_decisions
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite.changes import rows as change_rows
from collective.catalog.sqlite.collection import dooming, guarded
from collective.catalog.sqlite.collection import unreferenced as catalog_collection
from collective.catalog.sqlite.copies import copies, inventories, quarantine
from collective.catalog.sqlite.files import uploads
from collective.catalog.sqlite.names import name_removal
from collective.catalog.sqlite.nodes import removal, restores
from collective.catalog.sqlite.store import checkpoints, sweeping, writer
from collective.chunking.store import facade
from collective.chunking.store.model import StoreOptions
from collective.core import limits
from collective.core.errors import CollectiveError
from collective.core.limits import KIB
from collective.member import status
from collective.member.care import (
    collector,
    expiry,
    guarded_deletes,
    records,
    repair,
    sampling,
    settling,
)
from collective.member.files import interrupted_copying
from collective.member.nodes import inventory_schedule, reachability
from collective.pki import certificates, succession, trust
from collective.roles.coordinator import app as coordinator_app
from collective.roles.node import renewal
from collective.roles.runtime import diskwatch, lifecycle, watchdog
from collective.roles.runtime.metrics import WorkerMetrics
from collective.rpc.server import reflection
from tests.simulation import network
from tests.simulation.process import PROCESS, BrokenPromiseError

CHUNK_BYTES: Final = 4 * KIB
STORE: Final = StoreOptions(
    small_max_bytes=2 * KIB,
    pack_max_bytes=64 * KIB,
    batch_max_bytes=64 * KIB,
    free_margin_bytes=64 * KIB,
)
CATALOG: Final[dict[str, Any]] = {
    "upload_life_s": 120.0,
    "lease_life_s": 60.0,
    "repair_claim_s": 60.0,
    "delete_retry_s": 20.0,
}
_REMEMBERED_MOST: Final = 1024
"""Results that are kept of one pure function."""
CHANGED_ROWS_MOST: Final = 300
"""Rows that one change of the catalogue may touch, by triggers too, where its steps are as small as here."""
INVENTORY_ROWS_MOST: Final = 110
"""The same of a step of an inventory: seventy are usual, whatever is missing."""


def _catalog_settings(**given: Any) -> CatalogSettings:
    known = {field.name for field in dataclasses.fields(CatalogSettings)}
    given.update((key, CATALOG[key]) for key in CATALOG if key in known)
    return CatalogSettings(**given)


def _store_options() -> StoreOptions:
    return STORE


def _followed_once(follow: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``follow`` of :mod:`collective.pki.succession`, worked out once for the same words."""
    known: dict[Any, Any] = {}

    def followed(trusted: Any, told: Any, domain: Any, now_s: float) -> Any:
        what = (
            trusted,
            tuple(told.authorities),
            tuple(told.links),
            told.teller_digest,
            domain,
            now_s // 3600,
        )
        if what not in known:
            known[what] = follow(trusted, told, domain, now_s)
        return known[what]

    return followed


def _remembered(check: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Return a check of a signature that is made once for each certificate and key.

    The key is kept with the result, so that no other gets its id.
    """
    known: dict[Any, tuple[Any, bool]] = {}

    def signed(certificate: Any, key: Any) -> bool:
        what = (certificate, id(key))
        found = known.get(what)
        if found is None:
            if len(known) >= _REMEMBERED_MOST:
                known.clear()
            found = known[what] = (key, check(certificate, key))
        return found[1]

    return signed


def _digested_once(digest: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return a digest of keys that is worked out once for each key that is kept."""
    known: dict[int, tuple[Any, bytes]] = {}

    def digested(key: Any) -> bytes:
        found = known.get(id(key))
        if found is None:
            if len(known) >= _REMEMBERED_MOST:
                known.clear()
            found = known[id(key)] = (key, digest(key))
        return found[1]

    return digested


def _innermost(operation: Any) -> Any:
    while isinstance(operation, functools.partial):
        operation = operation.func
    return operation


def _bounded(attempt: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``Writer._attempt``, watched for changes that would hold the writer."""

    def attempted(self: Any, job: Any, book: Any) -> Any:
        before = self._db.total_changes()
        after = attempt(self, job, book)
        rows = self._db.total_changes() - before
        process = PROCESS.get()
        operation = _innermost(job.operation)
        is_inventory = operation.__module__ == inventories.__name__
        most = INVENTORY_ROWS_MOST if is_inventory else CHANGED_ROWS_MOST
        if rows > most and process is not None and process.alive:
            where = f"{operation.__module__}.{operation.__qualname__}"
            text = f"one change of {rows} rows, of {where}, holds the writer"
            process.errors.append(BrokenPromiseError(text))
        return after

    return attempted


def _into_trace(_: Any, level: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Put what a program logs into the tail of the run's trace."""
    process = PROCESS.get()
    if process is not None and process.alive:
        error = event.pop("exc_info", None)
        shown = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        process.trace.remark(f"{process.name} {level}: {event['event']} {shown} {error or ''}")
        if error and level == "error" and not isinstance(error, bool | CollectiveError | OSError):
            process.errors.append(error)
    raise structlog.DropEvent


def _signing_alike(sign: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``sign`` of a builder with signatures that are the same each time."""

    def signed(builder: Any, key: Any, algorithm: Any, **given: Any) -> Any:
        return sign(builder, key, algorithm, ecdsa_deterministic=True, **given)

    return signed


def _itself(metric: Any, *_: Any, **__: Any) -> Any:
    """Return the metric for whatever labels: nobody looks at it."""
    return metric


def _unmeasured(*_: Any, **__: Any) -> None:
    """Measure nothing."""


Put = Callable[[Any, str, Any], None]
"""Has an attribute of something be a value while a run lasts."""


def _small(put: Put) -> None:
    put(limits, "CHUNK_SIZE_BYTES", CHUNK_BYTES)
    put(coordinator_app, "CatalogSettings", _catalog_settings)
    put(facade, "StoreOptions", _store_options)
    for stepping in (copies, guarded, inventories, quarantine):
        put(stepping, "STEP_COPIES", 8)
    put(dooming, "GUARDS_LIFTED", 8)
    put(dooming, "LATE_MS", 120_000)
    put(copy_decisions, "CHECK_MOST_MS", 300_000)  # where a clock jumped, nothing is long ago
    put(name_removal, "STEP_NAMES", 3)
    put(removal, "FORGET_ROWS", 8)
    put(restores, "GUARDED_AT_ONCE", 16)
    put(catalog_collection, "CLEARED_ROWS", 6)
    put(catalog_collection, "CHUNKS_LOOKED_AT", 6)
    put(catalog_collection, "STEP_CHUNKS", 3)  # each with copies on any of ten nodes
    put(catalog_collection, "IN_TURN", 8)
    put(catalog_collection, "VERSIONS_CONDEMNED", 16)
    put(uploads, "CLEAR_AT_COMMIT", 8)
    put(change_rows, "PRUNED_AT_ONCE", 8)
    for ended in ("_GRANTS", "_CODES", "_REDEMPTIONS", "_CERTIFICATES"):
        put(sweeping, ended, 16)
    put(checkpoints, "LOG_PAGES", 60)
    put(collector, "BATCH", 16)
    put(repair, "PAGE", 8)


def _often(put: Put) -> None:
    """Have what looks again and again do so often enough for a run of minutes."""
    put(watchdog, "INTERVAL_S", 30.0)
    put(diskwatch, "LOOK_S", 10.0)
    for looking in (repair, guarded_deletes, reachability, collector):
        put(looking, "IDLE_S", 20.0)
    put(settling, "SETTLE_S", 20.0)
    put(inventory_schedule, "INVENTORY_S", 300.0)
    put(status, "FIGURES_S", 60.0)
    put(records, "RECORDS_S", 30.0)


def _rarely(put: Put) -> None:
    """Have it do so as rarely as a house can bear that is left in peace for hours."""
    put(watchdog, "INTERVAL_S", 600.0)
    put(diskwatch, "LOOK_S", 120.0)
    for looking in (repair, guarded_deletes, reachability, collector):
        put(looking, "IDLE_S", 120.0)
    put(interrupted_copying, "LOOK_S", 120.0)
    put(network, "SWEEP_INTERVAL_S", 120.0)
    put(sampling, "SAMPLE_LOOK_S", 120.0)
    put(expiry, "EXPIRE_S", 120.0)
    put(settling, "SETTLE_S", 60.0)
    put(settling, "DISCARD_S", 300.0)
    put(inventory_schedule, "INVENTORY_S", 6 * 3600.0)
    put(status, "FIGURES_S", 600.0)
    put(records, "RECORDS_S", 120.0)


def _quick(put: Put) -> None:
    """Have pure functions work out each result once, and measure nothing."""
    for signed in ("_is_issued_by", "_is_signed_with"):
        put(trust, signed, _remembered(getattr(trust, signed)))
    for module, name in (
        (certificates, "load_certificate"),
        (certificates, "certificate_key"),
        (certificates, "describe"),
        (trust, "_profile_steps"),
        (trust, "_check_authority_profile"),
    ):
        put(module, name, functools.lru_cache(_REMEMBERED_MOST)(getattr(module, name)))
    put(certificates, "key_digest", _digested_once(certificates.key_digest))
    put(renewal, "follow", _followed_once(succession.follow))
    put(reflection, "load_descriptors", functools.cache(reflection.load_descriptors))
    for metric in (Counter, Gauge, Histogram):
        put(metric, "labels", _itself)
    for measured, names in (
        (Counter, ("inc",)),
        (Gauge, ("set", "inc", "dec", "set_function")),
        (Histogram, ("observe",)),
        (WorkerMetrics, ("state", "step", "succeeded", "failed")),
    ):
        for name in names:
            put(measured, name, _unmeasured)


@contextmanager
def tuned(*, is_calm: bool = False) -> Iterator[None]:
    """Have everything that is made inside small, quick and quiet; ``is_calm``: and seldom looked at."""
    with ExitStack() as stack:

        def put(target: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, value))

        _small(put)
        _quick(put)
        (_rarely if is_calm else _often)(put)
        put(lifecycle, "READY_POLL_S", 1.0)
        put(writer.Writer, "_attempt", _bounded(writer.Writer._attempt))
        for builder in (x509.CertificateBuilder, x509.CertificateSigningRequestBuilder):
            put(builder, "sign", _signing_alike(builder.sign))
        if not os.environ.get("SIMULATION_LOG"):
            structlog.configure(
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
                processors=[_into_trace],
                cache_logger_on_first_use=False,
            )
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()
