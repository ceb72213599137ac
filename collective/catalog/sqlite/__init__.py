"""The catalogue on SQLite: one writer with group commit, several readers, snapshots.

``SqliteCatalog.open`` is the only way in; ``interface.settings`` says what can be set.
"""

from collective.catalog.sqlite.catalog import SqliteCatalog
from collective.catalog.sqlite.store.configuration import configure
from collective.catalog.sqlite.store.opening import holds_catalog

__all__ = ["SqliteCatalog", "holds_catalog"]

configure()
