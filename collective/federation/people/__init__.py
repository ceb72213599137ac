"""Grants at another member, over the connection to its coordinator."""
