"""Writes the reference pages: ``python -m tools.docs``, a part of ``make docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.docs import json_schemas
from tools.docs.pages import PAGES

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference"


def main() -> None:
    """Write every page whose text is not what stands there, and remove what is none of them."""
    made = {name: make() for name, make in PAGES.items()} | dict(json_schemas.files())
    wanted = {REFERENCE / name for name in made}
    for stranger in REFERENCE.rglob("*"):
        if stranger.is_file() and stranger not in wanted:
            stranger.unlink()
    for name, text in made.items():
        path = REFERENCE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
