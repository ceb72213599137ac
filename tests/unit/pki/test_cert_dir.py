"""Names in the cert dir are read back as ids."""

from __future__ import annotations

from collective.pki.cert_dir import nodes_in


def test_node_ids_are_read_back_from_names() -> None:
    names = ["b.crt", "a.crt", "a.key", ".joining.key", "..crt", "A.crt", "a.crt.new"]
    assert nodes_in(names) == ["a", "b"]
