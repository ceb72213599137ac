"""Every service and message, from the ``.proto`` files and the comments in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from collective.rpc.generate import PROTO_DIR
from tools.docs.markdown import made_from

_FOLDER: Final = Path(PROTO_DIR) / "collective" / "v1"
_FIRST: Final = ("common.proto", "files.proto", "uploads.proto", "reads.proto", "transfer.proto")
_PACKAGE: Final = re.compile(r"^package ([\w.]+);$", re.MULTILINE)


def files() -> list[Path]:
    """Return the ``.proto`` files: what a client needs first, then by name."""
    found = sorted(_FOLDER.glob("*.proto"))
    order = {name: place for place, name in enumerate(_FIRST)}
    return sorted(found, key=lambda one: order.get(one.name, len(order)))


def page() -> str:
    """Return the page."""
    parts = [
        "# Messages\n",
        made_from("`collective/rpc/proto/collective/v1`"),
        (
            "What the calls mean, and the chunk stream beside them, is in [protocol](../protocol.md);"
            " what lies on disks in [formats](../formats.md).\n"
        ),
    ]
    for file in files():
        text = file.read_text(encoding="utf-8")
        named = _PACKAGE.search(text)
        if named is None:
            raise ValueError(f"{file} has no package.")
        head, _, rest = text.partition("syntax = ")
        about = " ".join(line.removeprefix("//").strip() for line in head.splitlines())
        body = rest.split("\n", 1)[1].partition(named.group())[2].strip()
        parts += [f"## {named[1]}\n", f"{about}\n", f"```proto\n{body}\n```\n"]
    return "\n".join(parts)
