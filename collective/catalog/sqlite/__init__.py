"""The catalogue on SQLite: one writer with group commit, several readers, snapshots.

``SqliteCatalog.open`` is the only way in; ``settings`` says what can be set.
"""

from collective.catalog.sqlite.catalog import SqliteCatalog
from collective.catalog.sqlite.configuration import configure
from collective.catalog.sqlite.opening import holds_catalog
from collective.catalog.sqlite.settings import CatalogSettings

__all__ = ["CatalogSettings", "SqliteCatalog", "holds_catalog"]

configure()
