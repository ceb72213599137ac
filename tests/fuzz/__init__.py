"""Fuzzing of every decoder of outside bytes: ``python -m tests.fuzz --seconds N``."""
