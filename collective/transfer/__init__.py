"""How chunks and files move: ``stream/``, ``tickets/`` and ``engine/``.

The chunk stream carries bytes, tickets say who may move them, and the engine uploads and downloads a
file over any control.

Owns how chunk bytes travel between processes (ALPN ``collective-chunk/1``) and who may move them.
Knows nothing of file names, rights or disks.
"""
