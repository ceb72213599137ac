"""Where the files of a process may go."""

from __future__ import annotations

import os

import pytest

from collective.cli.setup.placing import Place
from collective.core.errors import PermissionDeniedError
from tests.trees.machine import NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_who_may_not_write_there_is_told_so() -> None:
    place = Place.at("x", "/etc/collective-nobody/x.toml")
    with NOBODY.acting(), pytest.raises(PermissionDeniedError, match="not write in /etc; run this"):
        place.require_free(is_replaced=False)
    place.require_free(is_replaced=False)
