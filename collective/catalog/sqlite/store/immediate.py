"""A transaction outside the writer's batches: for what a start does before there is a writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw


@contextmanager
def immediate(db: apsw.Connection) -> Iterator[None]:
    """Commit what is done inside, or leave everything as it was; ``db`` is in no transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
