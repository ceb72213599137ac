"""The command line, killed by SIGKILL at a chosen moment of a redemption or a transfer.

``python -m tests.integration.dying_client MOMENT ARGUMENT...`` where MOMENT is ``answer`` (the
certificate is issued, its answer not looked at yet), ``sent:N`` (N chunks are with their nodes),
``got:N`` (N MiB are in the local file), or the end of a path that is just being written: the process
dies before the name is in place.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from collective.cli.app import run
from collective.client import joining
from collective.client.single_file import put_get
from collective.core.disk import OsDisk
from collective.transfer.engine.chunk_storing import ChunkStoring


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_chunks(count: int) -> None:
    send, done = ChunkStoring.run, itertools.count(1)

    async def run_and_die(self: ChunkStoring, *arguments: Any) -> Any:
        receipts = await send(self, *arguments)
        if next(done) == count:
            die()
        return receipts

    ChunkStoring.run = run_and_die  # type: ignore[assignment,method-assign]


def die_after_bytes(count: int) -> None:
    write, done = put_get.write_at, 0

    def write_and_die(descriptor: int, block: Any, offset: int) -> None:
        nonlocal done
        done += len(block)
        write(descriptor, block, offset)
        if done >= count:
            die()

    put_get.write_at = write_and_die


def main(moment: str, arguments: list[str]) -> int:
    rename = OsDisk.rename

    def dying_rename(self: OsDisk, source: str, target: str) -> None:
        if target.endswith(f"/{moment}"):
            die()
        rename(self, source, target)

    def dying_check(*_: Any, **__: Any) -> Any:
        die()

    kind, _, count = moment.partition(":")
    if kind == "answer":
        joining.check_answer = dying_check
    elif kind == "sent":
        die_after_chunks(int(count))
    elif kind == "got":
        die_after_bytes(int(count) << 20)
    else:
        OsDisk.rename = dying_rename  # type: ignore[method-assign]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
