"""One flush serves all who changed names before it began."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from collective.chunking.store.dirsync import DirSyncer
from tests.faults.disk import FaultDisk, Faults


class SlowDisk(FaultDisk):
    """Holds the first flush of a directory until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.entered = threading.Event()
        self.go = threading.Event()

    def sync_dir(self, path: str) -> None:
        self.count += 1
        self.entered.set()
        assert self.go.wait(10)


def test_waiting_flushes_are_shared_but_never_with_one_already_running() -> None:
    disk = SlowDisk()
    syncer = DirSyncer(disk)
    with ThreadPoolExecutor(12) as pool:
        jobs = [pool.submit(syncer.sync, "/d")]
        assert disk.entered.wait(10)
        jobs += [pool.submit(syncer.sync, "/d") for _ in range(10)]
        while syncer._states["/d"].users < 11:
            pass
        disk.go.set()
        for job in jobs:
            job.result(10)
    assert disk.count == 2
    assert not syncer._states


def test_a_failed_flush_is_reported() -> None:
    disk = FaultDisk(Faults(flush_errno=errno.EIO))
    disk.make_dir("/d")
    with pytest.raises(OSError, match="Input/output"):
        DirSyncer(disk).sync("/d")
