"""Connections between processes: TLS, identities, gRPC servers and channels, errors on the wire.

Owns every socket outside the chunk stream, and opens those too (:mod:`collective.rpc.connect`).
``conversions`` turns messages into checked values and back.  Refuses domain decisions: who may do what
is decided above.
"""
