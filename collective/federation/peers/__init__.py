"""Peering: bundles, who is a peer, and how one becomes one."""
