"""One executable file for each processor: our wheel and all others, for every Python, by pex (ADR 29).

It needs a Python and nothing else.  At its first start it unpacks itself below ``PEX_ROOT``
(``~/.cache/pex``); from then on ``/bin/sh`` starts the unpacked program directly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.release.source import Source
from tools.release.targets import Target


def build_single_file(
    source: Source, targets: Sequence[Target], wheels: Path, scratch: Path, output: Path
) -> Path:
    """Write the file to ``output`` and return it.

    Args:
        source: says which version of ours is wanted.
        targets: of one processor.
        wheels: a folder with our wheel and all others, no more.
        scratch: a folder for what is needed meanwhile.
        output: the file.
    """
    platforms = []
    for target in targets:
        path = scratch / f"{target.processor}-{target.interpreter}.json"
        path.write_text(json.dumps(target.description()))
        platforms += ["--complete-platform", str(path)]
    subprocess.run(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-m", "pex", f"collective=={source.version}", *platforms),
            *("--no-pypi", "--pre-resolved-dists", str(wheels)),
            *("--entry-point", "collective.__main__:main"),
            # A venv of its own: 'python -m collective' of its interpreter is this program.
            *("--venv", "--sh-boot", "--no-compile", "--no-use-system-time"),
            *("--output-file", str(output)),
        ],
        env=os.environ | {"PEX_ROOT": str(scratch / "pex")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    output.chmod(0o755)
    return output
