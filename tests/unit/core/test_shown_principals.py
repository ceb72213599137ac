"""Identities are told as people type them, and never two alike."""

import pytest

from collective.core.ids import shown_principal, shown_principals


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        ("spiffe://home.alice/user/home.alice/bob", "bob@home.alice"),
        ("spiffe://home.alice/user/home.carol/carol", "carol@home.carol"),
        ("spiffe://home.alice/user/home.alice/coordinator", "coordinator@home.alice"),
        ("spiffe://home.alice/coordinator", "the operator of home.alice"),
        ("spiffe://home.alice/node/alice-node-01", "node alice-node-01"),
        ("spiffe://home.alice/bootstrap/edge", "bootstrap edge"),
        ("unknown", "unknown"),
        ("spiffe://home.alice/other/x", "spiffe://home.alice/other/x"),
        ("", ""),
    ],
)
def test_an_identity_is_shown_as_people_type_it(identity: str, shown: str) -> None:
    assert shown_principal(identity) == shown


def test_identities_within_a_sentence_are_shown_so_too() -> None:
    text = "read to spiffe://home.alice/user/home.alice/bob, by spiffe://home.alice/coordinator."
    assert shown_principals(text) == "read to bob@home.alice, by the operator of home.alice."
    assert shown_principals("spiffe://x and spiffe://") == "spiffe://x and spiffe://"
