"""What becomes of the upload of a copy from a peer that does not end well, and who may go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest

from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    NotFoundError,
    PeeringEndedError,
    PermissionDeniedError,
    UnreachableError,
)
from collective.core.ids import Domain, UploadId
from collective.core.paths import FilePath
from collective.core.world.threads import InlinePool
from collective.member.files import rights_watch
from collective.member.files.copying import MemberCopying
from collective.member.files.interrupted_copying import KEPT_MAX, RESUME_S, InterruptedCopying
from collective.member.files.member_directory import MemberDirectory
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.rights import Right
from collective.model.routes import Route, RouteMode
from collective.model.transfers import OpenedRead, ReadPlan
from collective.model.writing import Precondition
from collective.transfer.buffers import PooledBuffer
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.upload_session import ABORT_TIMEOUT_S, end_upload
from tests.unit.member.cluster import DOMAIN, OWN, USER
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_file_copy import OPTIONS, THEIRS, Bridge, Source
from tests.virtual_time import LoopClock
from tests.worlds import world_of

SOURCE: Final = FilePath.parse("/@garage.bob/x")
TARGET: Final = FilePath.parse("/d/copy")
ANN: Final = Call(USER, is_operator=False)


class PeersFile(Source):
    """A peer's file, whose owner may say no, and whose chunks may hang."""

    refuses: CollectiveError | None = None
    looked = 0

    async def open_read(self, *_: Any, **__: Any) -> OpenedRead:
        opened = await self.lease(RouteMode.DIRECT)
        return replace(opened, entry=opened.entry._replace(path=SOURCE))

    async def plan_read(self, *_: Any, offset: int, **__: Any) -> ReadPlan:
        self.looked += 1
        if self.refuses is not None:
            raise self.refuses
        return await super().plan_read(offset=offset)

    async def close_reads(self, *_: Any) -> None:
        self.given_back += 1


class Way(Bridge):
    """To the peer: its last chunk hangs while ``holds``, and nothing is stored this way."""

    holds: asyncio.Event | None = None
    asked: int = 0

    async def get(self, route: Route, **how: Any) -> PooledBuffer:
        self.asked += 1
        if self.holds is not None and self.asked >= len(self.source.pieces):
            await self.holds.wait()
        return await super().get(route, **how)

    def put(self, *_: Any) -> Any:
        pytest.fail("the target's bytes went the way of the source")


class Engines:
    """One engine for each side."""

    def __init__(self, way: Way, own: Engine) -> None:
        world = world_of(LoopClock(), way.here.world.randomness)
        pool = way.here.farm.pool
        self._theirs = Engine.of(cast("Any", way), pool, InlinePool(), world, OPTIONS)
        self._own = own

    def engine_for(self, path: FilePath) -> Engine:
        return self._own if path.peer_domain is None else self._theirs


class OnePeer:
    """The members that are known beside the own one."""

    def __init__(self, reads: PeersFile) -> None:
        self._reads = reads
        self.is_removed = False

    def domains(self) -> Sequence[Domain]:
        return (THEIRS,)

    def files(self, domain: Domain) -> Any:
        if self.is_removed:
            raise NotFoundError("No such peer.")
        assert domain == THEIRS
        return self

    @property
    def reads(self) -> PeersFile:
        return self._reads


class Work:
    """Copies from a peer into a real catalogue."""

    def __init__(self, here: Scene) -> None:
        self.here = here
        self.file = PeersFile(tuple(range(12)))
        self.way = Way(here, self.file)
        self.others = OnePeer(self.file)
        self.interrupted = InterruptedCopying(here.world.clock)
        farm = cast("Any", here.farm)
        world = world_of(LoopClock(), here.world.randomness)
        own = Engine.of(farm, here.farm.pool, InlinePool(), world, OPTIONS)
        owners = MemberDirectory(DOMAIN, here.files, cast("Any", self.others))
        self.copying = MemberCopying(OWN, Engines(self.way, own), owners, self.interrupted)
        self.opened: list[UploadId] = []
        self.is_open = asyncio.Event()

    async def _opened(self, upload: UploadId) -> None:
        self.opened.append(upload)
        self.is_open.set()

    async def copy(self, call: Call = OPERATOR, resume: UploadId | None = None) -> Entry:
        return await self.copying.copy(
            call, SOURCE, TARGET, Precondition(), resume=resume, on_opened=self._opened
        )

    async def begun(self, call: Call = OPERATOR) -> asyncio.Task[Entry]:
        """Begin a copy whose last chunk hangs; return when all others were fetched."""
        self.way.holds = asyncio.Event()
        copying = asyncio.create_task(self.copy(call))
        while len(self.way.fetched) < len(self.file.pieces) - 1:
            assert not copying.done(), copying
            await asyncio.sleep(0)
        return copying

    async def is_there(self, call: Call = OPERATOR) -> bool:
        """Tell whether the upload is open still."""
        try:
            await self.here.files.uploads.recorded(call, self.opened[-1], from_offset=0)
        except NotFoundError:
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass for the copies; nodes go on telling that they are there."""
        self.here.world.clock.advance(seconds)
        self.here.world.hear("a", "b", "c")

    async def step(self) -> None:
        await self.interrupted.worker().work()


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[Work]:
    async with scene(folder) as here:
        await here.catalog.names.make_directory(OPERATOR, TARGET.parent, parents=False)
        yield Work(here)


@pytest.fixture(autouse=True)
def _looks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_watch, "CHECK_S", 0.0)
    monkeypatch.setattr(rights_watch, "PEER_CHECK_S", 0.0)


async def test_each_side_moves_its_bytes_by_its_own_engine(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        await work.copy()
        assert len(work.way.fetched) == len(work.file.pieces)
        assert (work.here.farm.reads, len(work.here.farm.puts)) == (0, len(work.file.pieces))
        assert len(work.interrupted) == 0
        assert not work.interrupted._running


@pytest.mark.parametrize("error", [PermissionDeniedError("no more"), NotFoundError("gone")])
async def test_a_right_at_the_source_that_ends_ends_a_copy_and_its_upload_at_once(
    tmp_path: Path, error: CollectiveError
) -> None:
    """Though it waits for a chunk, and asks for no further plan."""
    async with working(tmp_path) as work:
        copying = await work.begun()
        work.file.refuses = error
        with pytest.raises(type(error)):
            await copying
        assert not await work.is_there()
        assert work.here.farm.pool.outstanding == 0
        assert not work.interrupted._running


async def test_a_right_at_the_target_that_ends_ends_a_copy_and_its_upload_at_once(
    tmp_path: Path,
) -> None:
    async with working(tmp_path) as work:
        given = await work.here.catalog.grants.add(OPERATOR, TARGET, Right.WRITE, USER, None)
        copying = await work.begun(ANN)
        await work.here.catalog.grants.remove(OPERATOR, given.id)
        with pytest.raises(PermissionDeniedError):
            await copying
        await work.here.catalog.grants.add(OPERATOR, TARGET, Right.WRITE, USER, None)
        assert not await work.is_there(ANN)


@pytest.mark.parametrize("error", [None, UnreachableError("gone"), BusyError("later")])
async def test_a_copy_that_is_interrupted_can_be_gone_on_with(
    tmp_path: Path, error: CollectiveError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights_watch, "PATIENCE_S", 0.0)
    async with working(tmp_path) as work:
        copying = await work.begun()
        if error is None:
            copying.cancel()
        work.file.refuses = error
        with pytest.raises(asyncio.CancelledError if error is None else type(error)):
            await copying
        assert await work.is_there()
        work.wait(RESUME_S - 1.0)
        await work.step()
        work.file.refuses = work.way.holds = None
        await work.copy(resume=work.opened[0])
        assert len(work.opened) == 1
        assert len(work.interrupted) == 0


async def test_an_interrupted_copy_with_which_nobody_goes_on_is_ended(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        copying = await work.begun()
        copying.cancel()
        await asyncio.wait([copying])
        assert await work.is_there()
        work.wait(RESUME_S)
        await work.step()
        assert not await work.is_there()
        assert len(work.interrupted) == 0


async def test_one_that_another_goes_on_with_already_is_left_to_it(tmp_path: Path) -> None:
    """The caller does not wait until this end has noticed that the first connection is gone."""
    async with working(tmp_path) as work:
        first = await work.begun()
        second = asyncio.create_task(work.copy(resume=work.opened[0]))
        while work.interrupted._running[work.opened[0]] < 2:
            assert not second.done(), second
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert len(work.interrupted) == 0
        work.wait(2 * RESUME_S)
        await work.step()
        assert work.way.holds is not None
        work.way.holds.set()
        await second
        assert not work.interrupted._running


@pytest.mark.parametrize("error", [UnreachableError("gone"), BusyError("later")])
async def test_a_look_that_gets_no_answer_for_a_moment_ends_no_copy(
    tmp_path: Path, error: CollectiveError
) -> None:
    async with working(tmp_path) as work:
        copying = await work.begun()
        work.file.refuses, looked = error, work.file.looked
        while work.file.looked < looked + 3:
            assert not copying.done(), copying
            await asyncio.sleep(0)
        work.file.refuses = None
        assert work.way.holds is not None
        work.way.holds.set()
        await copying
        assert len(work.interrupted) == 0


async def test_a_peering_that_ends_ends_a_copy_and_its_upload_at_once(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        copying = await work.begun()
        work.file.refuses = PeeringEndedError("garage.bob is no peer any more.")
        with pytest.raises(PeeringEndedError):
            await copying
        assert not await work.is_there()
        assert len(work.interrupted) == 0


async def test_a_removed_peer_ends_what_was_to_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights_watch, "PATIENCE_S", 0.0)
    async with working(tmp_path) as work:
        copying = await work.begun()
        work.file.refuses = UnreachableError("garage.bob is no peer any more.")
        with pytest.raises(UnreachableError):
            await copying
        work.others.is_removed = True
        with pytest.raises(NotFoundError):
            await work.copy(resume=work.opened[0])
        assert not await work.is_there()


async def test_an_attempt_of_somebody_else_changes_nothing_for_the_caller(tmp_path: Path) -> None:
    """Whoever names an upload is judged first: until then it is kept for whom it was interrupted."""
    async with working(tmp_path) as work:
        await work.here.catalog.grants.add(OPERATOR, TARGET, Right.WRITE, USER, None)
        copying = await work.begun()
        copying.cancel()
        await asyncio.wait([copying])
        with pytest.raises(NotFoundError):
            await work.copy(ANN, resume=work.opened[0])
        assert len(work.interrupted) == 1
        assert await work.is_there()
        work.way.holds = None
        await work.copy(resume=work.opened[0])
        assert len(work.opened) == 1
        assert not work.interrupted._running


async def test_an_attempt_of_somebody_else_that_fails_has_the_upload_end_in_its_time(
    tmp_path: Path,
) -> None:
    async with working(tmp_path) as work:
        await work.here.catalog.grants.add(OPERATOR, TARGET, Right.WRITE, USER, None)
        copying = await work.begun()
        copying.cancel()
        await asyncio.wait([copying])
        with pytest.raises(NotFoundError):
            await work.copy(ANN, resume=work.opened[0])
        work.wait(RESUME_S)
        await work.step()
        assert not await work.is_there()
        assert len(work.interrupted) == 0


class AtMember:
    """The uploads of one member, which notes what is ended, or does not answer."""

    def __init__(self) -> None:
        self.error: CollectiveError | None = None
        self.hangs = False
        self.ended: list[UploadId] = []
        self.asked = 0

    async def abort_upload(self, _: Call, upload: UploadId) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.ended.append(upload)


def keep(kept: InterruptedCopying, at: AtMember, domain: Domain, count: int) -> list[UploadId]:
    found = [UploadId.parse(f"{number:032x}@{domain}") for number in range(count)]
    for one in found:
        kept.keep(one, OPERATOR, cast("Any", at))
    return found


@pytest.mark.virtual_time
async def test_a_member_that_hangs_delays_the_end_at_no_other_and_is_told_when_it_is_back() -> None:
    clock = ManualClock()
    kept = InterruptedCopying(clock)
    hanging, own = AtMember(), AtMember()
    hanging.hangs = True
    theirs = keep(kept, hanging, THEIRS, 10)
    ours = keep(kept, own, DOMAIN, 10)
    clock.advance(RESUME_S)
    began_s = asyncio.get_running_loop().time()
    await kept.worker().work()
    assert asyncio.get_running_loop().time() - began_s == ABORT_TIMEOUT_S
    assert own.ended == ours
    assert (hanging.asked, len(kept)) == (1, 10)
    hanging.hangs = False
    await kept.worker().work()
    assert (hanging.ended, len(kept)) == (theirs, 0)


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (UnreachableError("gone"), True),
        (BusyError("later"), True),
        (PeeringEndedError("no peer"), False),
        (PermissionDeniedError("no more"), False),
    ],
)
async def test_an_end_that_was_not_taken_is_said_again_while_that_may_help(
    error: CollectiveError, stays: bool
) -> None:
    clock = ManualClock()
    kept, at = InterruptedCopying(clock), AtMember()
    keep(kept, at, THEIRS, 3)
    at.error = error
    clock.advance(RESUME_S)
    await kept.worker().work()
    assert len(kept) == (3 if stays else 0)
    clock.advance(limits.UPLOAD_LIFE_S)
    await kept.worker().work()
    assert len(kept) == 0, "they have expired there"


async def test_those_beyond_the_bound_go_also_where_their_member_does_not_answer() -> None:
    kept, at = InterruptedCopying(ManualClock()), AtMember()
    at.error = UnreachableError("gone")
    keep(kept, at, THEIRS, KEPT_MAX + 5)
    await kept.worker().work()
    assert len(kept) == KEPT_MAX


async def test_of_very_many_the_oldest_go_first(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        ended: list[UploadId] = []

        class Uploads:
            async def abort_upload(self, _: Call, upload: UploadId) -> None:
                ended.append(upload)

        for number in range(KEPT_MAX + 2):
            work.interrupted.keep(
                UploadId.parse(f"{number:032x}@{THEIRS}"), OPERATOR, cast("Any", Uploads())
            )
        await work.step()
        assert [int(str(one.key), 16) for one in ended] == [0, 1]


class Deaf:
    """Uploads whose member never answers, and hears of an end all the same."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.answers = asyncio.Event()
        self.is_done = False

    async def abort_upload(self, *_: Any) -> None:
        self.heard.set()
        await self.answers.wait()
        self.is_done = True


UPLOAD: Final = UploadId.parse(f"{'ab' * 16}@garage.bob")


@pytest.mark.virtual_time
async def test_the_end_of_an_upload_is_seen_through_and_has_a_bound() -> None:
    deaf = Deaf()
    ending = asyncio.create_task(end_upload(cast("Any", deaf), OPERATOR, UPLOAD))
    await deaf.heard.wait()
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    deaf.answers.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert deaf.is_done
    began_s = asyncio.get_running_loop().time()
    await end_upload(cast("Any", Deaf()), OPERATOR, UPLOAD)
    assert asyncio.get_running_loop().time() - began_s == ABORT_TIMEOUT_S
