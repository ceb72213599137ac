"""Chunks and the copies of them: what is known, repaired, given up and counted."""
