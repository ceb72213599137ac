"""The short version of the lab: three members far from each other, one of which is parted from the others."""

from __future__ import annotations

import random

import pytest

from tests.lab.houses import Lab

pytestmark = pytest.mark.smoke

CONTENT = random.Random(3).randbytes(5 * 1024 * 1024 + 1)


def test_files_of_a_peer_far_away_are_written_read_and_copied(lab: Lab) -> None:
    una, path = lab.people["alice"], "/@home.bob/shared/film"
    una.cli("write", path, stdin=CONTENT)
    ports = lab.houses["bob"].node_ports.values()
    lab.network.close_ports(lab.host("alice"), lab.host("bob"), *ports)
    try:
        assert una.cli("read", path).out == CONTENT, "through the coordinators"
    finally:
        lab.network.heal()
    una.cli("cp", path, "/shared/film")
    assert lab.houses["alice"].read("/shared/film") == CONTENT


def test_a_member_that_cannot_be_heard_is_known_and_comes_back(lab: Lab) -> None:
    with lab.everybody_writes():
        lab.network.part(lab.host("bob"), is_one_way=True)
        try:
            lab.wait_away("bob")
            lab.fails_at_once("bob")
            lab.works("alice", "carol")
        finally:
            lab.network.heal()
        lab.wait_back("bob")
    lab.check()
