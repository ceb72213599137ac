"""The operating system's disk: what is written is what is read, on every way to write."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from collective.core.disk import OsDisk, OsDiskFile


def _pattern(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096 + 16])
def test_parts_are_written_whole(tmp_path: Path, size: int, direct: bool) -> None:
    memory = mmap.mmap(-1, 1 << 16)
    content = _pattern(size)
    memory[:size] = content
    path = str(tmp_path / "file")
    with OsDisk().open(path, "create", direct=direct) as file:
        file.write([memoryview(memory)[:size], b"tail"], 0)
        file.datasync()
        assert file.size_bytes() == size + 4
    assert Path(path).read_bytes() == content + b"tail"


def test_misaligned_memory_is_written_all_the_same(tmp_path: Path) -> None:
    memory = memoryview(mmap.mmap(-1, 1 << 16))[3 : 3 + 8192]
    memory[:] = _pattern(8192)
    path = str(tmp_path / "file")
    with OsDisk().open(path, "create", direct=True) as file:
        file.write(memory, 0)
        file.write(b"later", 8192)
    assert Path(path).read_bytes() == _pattern(8192) + b"later"


def test_a_large_aligned_write_leaves_the_page_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags_seen: list[int] = []
    real = os.pwrite

    def spy(fd: int, data: memoryview, offset: int) -> int:
        import fcntl  # noqa: PLC0415 - only this spy needs it

        flags_seen.append(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", spy)
    memory = memoryview(mmap.mmap(-1, 1 << 16))
    with OsDisk().open(str(tmp_path / "file"), "create", direct=True) as file:
        if not (isinstance(file, OsDiskFile) and file._direct):
            pytest.skip("this file system has no direct writes")
        file.write(memory, 0)
    assert flags_seen == [os.O_DIRECT]
