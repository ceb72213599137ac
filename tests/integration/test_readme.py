"""The README, followed to the letter: from an installed command to what an invited friend wrote, and on to
another member that peers and copies it.
"""

from __future__ import annotations

from pathlib import Path

from tests.pages.blocks import ROOT, blocks_of
from tests.pages.terminals import home


def test_the_readme_leads_a_stranger_to_a_member_an_invited_friend_and_a_peer(
    tmp_path: Path,
) -> None:
    with home(tmp_path) as reader:
        said = reader.follow(blocks_of(ROOT / "README.md"))
    assert "Joined alice-homelab (home.alice) as mia@friends.net." in said
    assert "home.alice is a peer; its files are at /@home.alice." in said
    assert "Joined bob-homelab (garage.bob) as ben@garage.bob." in said
    assert said.count("Welcome to the collective!") == 3, said
    assert said.endswith("Hello from Mia\n"), said
