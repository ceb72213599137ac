"""The command line, killed by SIGKILL at a chosen moment of a redemption.

``python -m tests.integration.dying_client MOMENT ARGUMENT...`` where MOMENT is ``answer`` (the
certificate is issued, its answer not looked at yet) or the end of a path that is just being
written: the process dies before the name is in place.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from collective.cli.app import run
from collective.client import join
from collective.core.disk import OsDisk


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(moment: str, arguments: list[str]) -> int:
    rename = OsDisk.rename

    def dying_rename(self: OsDisk, source: str, target: str) -> None:
        if target.endswith(f"/{moment}"):
            die()
        rename(self, source, target)

    def dying_check(*_: Any, **__: Any) -> Any:
        die()

    OsDisk.rename = dying_rename  # type: ignore[method-assign]
    if moment == "answer":
        join.check_answer = dying_check
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
