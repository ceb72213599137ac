"""Invites, joining, identities, grants."""
