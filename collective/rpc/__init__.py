"""Connections between processes: TLS, identities, gRPC servers and channels, errors on the wire.

Owns every socket outside the chunk stream, and opens those too (:mod:`collective.rpc.client.connect`).
``links`` is the network as an interface, ``tls_links`` the real one, over ``client``, ``server``, ``tls``,
``http2`` and ``wire``.  ``conversions`` turns messages into checked values and back; ``remote`` makes a member's
calls in values.  Refuses domain decisions: who may do what is decided above.
"""
