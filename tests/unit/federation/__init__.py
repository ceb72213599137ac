"""Peers, their bundles, and what they may ask."""
