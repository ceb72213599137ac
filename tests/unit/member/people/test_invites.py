"""Join codes: the unattended one for nodes, and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from collective.core.errors import UsageError
from collective.core.units import Address
from collective.model.people import InviteKind
from collective.pki import invite_code
from tests.unit.member.joiners import OPERATOR, World


async def test_node_code_is_written_0600_kept_while_usable_and_rotated_when_not(
    world: World,
) -> None:
    path = Path(world.path) / "join" / "node.code"
    made = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)).id == made.id
    assert await world.join(invite_code.parse(text))
    rotated, _ = await world.codes.rotate_node_code(OPERATOR, uses=2, validity_s=86400)
    assert (await world.catalog.codes.get(made.id)).revoked
    assert invite_code.parse(path.read_text()).code_id == rotated.id
    world.addresses = [Address("10.0.0.9", 9001)]
    moved = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert moved.id != rotated.id
    world.clock.advance(86400)
    late = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert late.id != moved.id
    path.write_text("garbage")
    repaired = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert invite_code.parse(path.read_text()).code_id == repaired.id


async def test_codes_out_of_range_are_refused(world: World) -> None:
    for uses, validity_s in ((0, 60), (100_001, 60), (1, 0), (1, 500 * 86400)):
        with pytest.raises(UsageError):
            await world.codes.create(OPERATOR, InviteKind.NODE, uses=uses, validity_s=validity_s)
