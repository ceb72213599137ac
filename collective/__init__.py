"""Federated storage for homelabs: see ``docs/architecture.md`` for the map of packages."""

__version__ = "0.1.0"
