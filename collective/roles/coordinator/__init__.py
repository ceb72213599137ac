"""The coordinator: keeps a member's catalogue, places chunks, decides who may do what.

``app.py`` wires, the ``*_service.py`` and ``*_calls.py`` modules adapt gRPC, the rest decides and
works in the background.  Refuses other roles and chunk storage.
"""
