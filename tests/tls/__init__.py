"""Scanners of TLS against a real member: ``make test-tls``."""
