"""Manual pages and completions as an archive for a prefix: ``tar -xzf … -C /usr/local``."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from tools.release.source import Source

COMPLETIONS: Final = {
    "bash": "share/bash-completion/completions/collective",
    "zsh": "share/zsh/site-functions/_collective",
    "fish": "share/fish/vendor_completions.d/collective.fish",
}
MANUAL: Final = "share/man"


def build_shared_files(source: Source, scratch: Path, output: Path) -> Path:
    """Write the archive to ``output`` and return it; the program of the source tree says what is in it."""
    prefix = scratch / "prefix"
    _ask(source, "man", "--output-dir", str(prefix / MANUAL))
    for shell, name in COMPLETIONS.items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_bytes(_ask(source, "completion", shell))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(one for one in prefix.rglob("*") if one.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(prefix)))
            entry.size, entry.mtime, entry.mode = path.stat().st_size, source.time_s, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
    with output.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(packed.getvalue())
    return output


def _ask(source: Source, *arguments: str) -> bytes:
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "collective", *arguments],
        cwd=source.tree,
        capture_output=True,
        check=True,
    ).stdout
