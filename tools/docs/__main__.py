"""Writes the reference pages: ``python -m tools.docs``, a part of ``make docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.docs.pages import PAGES

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference"


def main() -> None:
    """Write every page whose text is not what stands there, and remove what is none of them."""
    REFERENCE.mkdir(exist_ok=True)
    for stranger in {one.name for one in REFERENCE.iterdir()} - set(PAGES):
        (REFERENCE / stranger).unlink()
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
