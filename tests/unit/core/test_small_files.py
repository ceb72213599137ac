"""Small files are replaced whole, whatever crashes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from collective.core.disk import OsDisk
from collective.core.disk_errors import DiskFailedError
from collective.core.small_files import NewContent, replace_together, write_atomically
from tests.faults.crashing_disk import CrashingDisk, StoppedError


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_replacing_a_file_shows_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    write_atomically(path, b"old", permissions=0o600, disk=OsDisk())
    for at in range(5):
        try:
            write_atomically(path, b"new", permissions=0o600, disk=CrashingDisk(at))
        except StoppedError:
            assert Path(path).read_bytes() == (b"old" if at == 0 else b"new")
    assert mode(path) == 0o600


def test_what_could_not_be_put_in_place_is_not_left_beside_it(tmp_path: Path) -> None:
    """A folder in the way of the second of two files: neither secret stays as a .new."""
    (tmp_path / "b").mkdir()
    contents = [NewContent(str(tmp_path / name), b"secret", 0o600) for name in "ab"]
    with pytest.raises(DiskFailedError):
        replace_together(contents, disk=OsDisk())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
