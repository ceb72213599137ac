"""Settings of ``serve``: flags before variables before a TOML file.

Every setting has one name: ``storage_capacity`` in TOML and for flags is
``COLLECTIVE_STORAGE_CAPACITY`` as a variable.  All text is validated here; whatever is wrong
raises :class:`SettingsError` with one sentence that names the setting and where it came from.
"""

from __future__ import annotations

from collective.core.settings.declared import (
    PREFIX,
    SERVE_ROLES,
    SETTINGS,
    LogLevel,
    ServeSettings,
    Setting,
)
from collective.core.settings.loading import file_settings, load_settings, unknown_variables

__all__ = [
    "PREFIX",
    "SERVE_ROLES",
    "SETTINGS",
    "LogLevel",
    "ServeSettings",
    "Setting",
    "file_settings",
    "load_settings",
    "unknown_variables",
]
