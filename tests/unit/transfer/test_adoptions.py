"""An adoption counts for one node, under a key that it shares with its coordinator."""

from __future__ import annotations

import pytest

from collective.core.ids import SpiffeId
from collective.rpc.gen.collective.v1 import node as pb
from collective.transfer.tickets.adoptions import AdoptionRefusedError, open_adoption, sign_adoption
from collective.transfer.tickets.keys import TicketKey

NODE = SpiffeId.parse("spiffe://home.alice/node/n1")
OTHER = SpiffeId.parse("spiffe://home.alice/node/n2")
KEY = TicketKey(7, b"k" * 32)
ADOPTION = pb.Adoption(
    node=str(NODE),
    replaced=pb.CatalogPosition(catalog_id="a" * 32, epoch=3, sequence=9),
    successor=pb.CatalogPosition(catalog_id="b" * 32, epoch=1, sequence=2, mac=b"s" * 32),
)


class Keys:
    def key(self, key_id: int) -> TicketKey | None:
        return KEY if key_id == KEY.key_id else None

    def revocation_epoch(self) -> int:
        return 0

    def coordinator_now_ms(self) -> int:
        return 0


def test_what_the_coordinator_signed_for_this_node_opens() -> None:
    assert open_adoption(Keys(), sign_adoption(KEY, ADOPTION), node=NODE) == ADOPTION


@pytest.mark.parametrize(
    "change",
    [
        {"mac": b"x" * 32},
        {"mac": b""},
        {"key_id": 8},
        {"body": b""},
        {"body": b"x" * 5000},
    ],
)
def test_a_forged_or_malformed_one_is_refused(change: dict[str, object]) -> None:
    signed = sign_adoption(KEY, ADOPTION)
    for name, value in change.items():
        setattr(signed, name, value)
    with pytest.raises(AdoptionRefusedError):
        open_adoption(Keys(), signed, node=NODE)


def test_one_for_another_node_is_refused() -> None:
    with pytest.raises(AdoptionRefusedError, match="another node"):
        open_adoption(Keys(), sign_adoption(KEY, ADOPTION), node=OTHER)


@pytest.mark.parametrize("missing", ["replaced", "successor"])
def test_one_that_does_not_say_what_it_is_about_is_refused(missing: str) -> None:
    adoption = pb.Adoption(node=str(NODE), replaced=ADOPTION.replaced, successor=ADOPTION.successor)
    setattr(adoption, missing, None)
    with pytest.raises(AdoptionRefusedError, match="does not say"):
        open_adoption(Keys(), sign_adoption(KEY, adoption), node=NODE)
