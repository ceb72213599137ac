"""What an operator may set about the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core import limits


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """Settings of one catalogue; times in seconds."""

    copies: int = 3
    """Copies of each chunk of a new file (1 to COPIES_MAX)."""
    upload_life_s: float = limits.UPLOAD_LIFE_S
    lease_life_s: float = limits.READ_LEASE_S
    repair_claim_s: float = 600.0
    """After so long without an answer a claimed repair is given up."""
    delete_retry_s: float = 60.0
    """After so long without an answer a delete is handed out again."""
    readers: int = 3
    """Connections that read beside the writer."""
    queue_max: int = 10_000
    """Changes that may wait for the writer before callers get BusyError."""
    changes_max: int = 100_000
    """Changes of names that are kept for those who watch folders,"""
    changes_max_bytes: int = 32 * limits.MIB
    """and about their size;"""
    changes_kept_s: float = 7 * 86400.0
    """none is kept for longer."""
    audit_changes_max: int = 1_000_000
    """Rows of the audit about changes; beyond it the oldest rows of the most frequent actor are dropped."""
    audit_refusals_max: int = 100_000
    """The same for rows about refusals, so that these never push out the others."""
