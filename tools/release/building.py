"""All packages of one commit, in one folder, with their checksums."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.release.bill_of_materials import build_bill_of_materials
from tools.release.shared_files import build_shared_files
from tools.release.single_file import build_single_file
from tools.release.source import unpack
from tools.release.targets import Target
from tools.release.wheels import build_wheel_and_sdist, download

CHECKSUMS: Final = "SHA256SUMS"


def build(repository: Path, output: Path, targets: Sequence[Target]) -> list[Path]:
    """Make every package of HEAD in ``output``, which is made; return the files.

    The same commit, lock and Python give the same bytes.  What was in ``output`` under these names is
    replaced; nothing is written there before all is made.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        made = _build(repository, scratch, targets)
        output.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(one, output / one.name)) for one in made]


def _build(repository: Path, scratch: Path, targets: Sequence[Target]) -> list[Path]:
    source = unpack(repository, scratch / "tree")
    folder = scratch / "made"
    folder.mkdir()
    stem = f"collective-{source.version}"
    wheel, archive = build_wheel_and_sdist(source, folder)
    made = [wheel, archive]
    wheels: dict[str, Path] = {wheel.name: wheel}
    for processor in dict.fromkeys(one.processor for one in targets):
        own = [one for one in targets if one.processor == processor]
        fetched = scratch / f"wheels-{processor}"
        for target in own:
            download(source, target, fetched)
        wheels |= {one.name: one for one in fetched.iterdir()}
        shutil.copy(wheel, fetched)
        file = folder / f"{stem}-linux-{processor}"
        made.append(build_single_file(source, own, fetched, scratch, file))
    made.append(build_shared_files(source, scratch, folder / f"{stem}-share.tar.gz"))
    bill = folder / f"{stem}.cdx.json"
    made.append(build_bill_of_materials(source, targets, wheels.values(), bill))
    made.append(write_checksums(made, folder / CHECKSUMS))
    return made


def write_checksums(files: Sequence[Path], output: Path) -> Path:
    """Write the SHA-256 of each file, as ``sha256sum --check`` reads them."""
    lines = []
    for path in sorted(files):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    output.write_text("".join(lines))
    return output
