"""The reference pages: name of each below ``docs/reference``, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tools.docs import commands, json_schemas, metrics, protocol, python_api, settings

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands.page,
    "json.md": json_schemas.page,
    "settings.md": settings.page,
    "metrics.md": metrics.page,
    "messages.md": protocol.page,
    "python.md": python_api.page,
}
