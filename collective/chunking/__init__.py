"""Splitting, chunk ids, envelopes and the on-disk chunk store.

Owns what a chunk looks like as bytes and how a node keeps it.  Refuses the network.  ``envelope``,
``codec``, ``splitter`` and ``chunk_ids`` are pure; ``store`` does blocking work on an executor of its own.
"""
