"""The chunk stream: framing, tickets and receipts, connections, server and client.

Owns how chunk bytes travel between processes (ALPN ``collective-chunk/1``) and who may move them.
Knows nothing of files, paths or disks.
"""
