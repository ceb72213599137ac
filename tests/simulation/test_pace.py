"""Busy and calm runs: what each has to come to, and what is counted of what only days bring."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import mock

import pytest

from collective.rpc.gen.collective.v1 import node as node_pb
from collective.rpc.gen.collective.v1 import trust as trust_pb
from tests.simulation.disk import Folder, Inode
from tests.simulation.pace import CALM_DAYS, CALM_FROM_MINUTES, DAY_S, pace_of
from tests.simulation.run import FAULT, FORGOTTEN, KIND_LEAST, SEEDS, Report, least_of
from tests.simulation.scenario import Scenario
from tests.simulation.stage import Result
from tests.simulation.trace import Trace
from tests.simulation.upkeep import Dispatches, Upkeep

TEN_DAYS_MINUTES = CALM_DAYS * DAY_S / 60


def test_a_run_of_a_day_is_calm_and_a_shorter_one_is_not() -> None:
    assert pace_of(CALM_FROM_MINUTES).is_calm
    assert not pace_of(CALM_FROM_MINUTES - 1).is_calm


def test_what_a_run_must_come_to_grows_with_its_days() -> None:
    one, ten = pace_of(TEN_DAYS_MINUTES / 10), pace_of(TEN_DAYS_MINUTES)
    assert ten.acknowledged_least == pytest.approx(10 * one.acknowledged_least)
    assert ten.faults_least == pytest.approx(10 * one.faults_least)
    assert ten.counted_least["snapshots"] == 10 * one.counted_least["snapshots"]
    assert min(ten.counted_least.values()) > 0


def test_people_rest_at_night_in_a_calm_run_alone() -> None:
    calm, busy = pace_of(TEN_DAYS_MINUTES), pace_of(10.0)
    noon_s, night_s = 3 * DAY_S + 12 * 3600.0, 3 * DAY_S + 23 * 3600.0
    assert calm.until_morning_s(noon_s) == 0.0
    assert calm.until_morning_s(night_s) == 3600.0
    assert busy.until_morning_s(night_s) == 0.0


def result_of(**counts: int) -> Result:
    enough = {"acknowledged": 2000, f"{FAULT}bit flip": 500}
    enough |= dict(pace_of(TEN_DAYS_MINUTES).counted_least)
    return Result(1, "", Counter(enough | counts), TEN_DAYS_MINUTES * 60)


@pytest.mark.parametrize("what", ["acknowledged", *pace_of(TEN_DAYS_MINUTES).counted_least])
def test_a_seed_of_days_that_lacks_something_is_told(what: str) -> None:
    report = Report()
    report.add(result_of(), 1.0, TEN_DAYS_MINUTES)
    assert not report.short
    report.add(result_of(**{what: 0}), 1.0, TEN_DAYS_MINUTES)
    assert report.short == [f"seed 1: 0 {what}"]


def test_ten_seeds_of_ten_days_must_have_every_kind_of_fault_and_what_ends_after_a_week() -> None:
    least, seeds = least_of(TEN_DAYS_MINUTES, houses=False)
    assert {f"{FAULT}bit flip", f"{FAULT}catalogue lost", FORGOTTEN} <= least.keys()
    report = Report()
    for _ in range(seeds):
        report.add(result_of(), 1.0, TEN_DAYS_MINUTES)
    assert f"{FORGOTTEN}: 0 times" in report.missing(least, seeds)
    assert report.missing(least, seeds + 1) == []


def test_a_run_of_minutes_must_have_every_kind_of_fault_as_often_as_ever() -> None:
    least, seeds = least_of(10.0, houses=False)
    assert seeds == SEEDS
    assert set(least.values()) == {KIND_LEAST}


def test_a_ticket_key_is_counted_once_and_a_renewal_each_time() -> None:
    trace = Trace(lambda: 0.0, file="")
    dispatches = Dispatches(trace)
    key, other = (node_pb.TicketKey(key_id=1, key=bytes([one]) * 32) for one in (1, 2))
    messages: list[Any] = [
        node_pb.HeartbeatResponse(keys=[key]),
        node_pb.HeartbeatResponse(keys=[key, other]),
        trust_pb.RenewCertificateResponse(),
        trust_pb.RenewCertificateResponse(),
    ]
    for message in messages:
        dispatches.sent(message)
    assert trace.counts == {"ticket keys made": 2, "certificates renewed": 2}


def test_codes_that_went_with_the_catalogue_are_not_counted_as_forgotten() -> None:
    house = Scenario(0, TEN_DAYS_MINUTES).house
    disk = house.member.machine(house.member.coordinator).disk
    snapshots = Folder()
    disk.replace(f"{house.member.data_folder}/catalog/snapshots", snapshots)
    upkeep, counts = Upkeep(house), house.trace.counts
    codes = [[(b"a",), (b"b",), (b"c",)], [(b"b",), (b"c",)], [(b"c",)]]
    with (
        mock.patch.object(house.truth, "database", return_value=object()),
        mock.patch.object(house.truth, "rows", side_effect=codes),
    ):
        snapshots.change("catalog-1-7.db.b3", Inode())
        upkeep._look()
        assert (counts["snapshots"], counts[FORGOTTEN]) == (1, 0)
        upkeep._look()
        assert (counts["snapshots"], counts[FORGOTTEN]) == (1, 1)
        house.restored(-1.0, -1.0)
        upkeep._look()
        assert counts[FORGOTTEN] == 1
    house.loop.close()


def test_no_node_takes_another_s_place_in_a_calm_house_that_has_many_to_drain() -> None:
    house = Scenario(0, TEN_DAYS_MINUTES).house
    house.nodes = [f"n{number}" for number in range(1, 8)]
    house.draining = set(house.nodes[:4])
    house.loop.run(house.faults._replace())
    assert len(house.nodes) == 7
    assert not house.trace.counts
    house.loop.close()
