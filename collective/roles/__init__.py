"""The roles a process may have, and the runtime that they share.

A mount (FUSE) is to be a role of its own, over ``collective.client``.
"""
