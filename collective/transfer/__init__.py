"""How chunks move: the chunk stream (``stream/``), and the words that allow it (``tickets/``).

Owns how chunk bytes travel between processes (ALPN ``collective-chunk/1``) and who may move them.
Knows nothing of files, paths or disks.
"""
