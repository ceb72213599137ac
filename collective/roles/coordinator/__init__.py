"""The coordinator: a member's catalogue and what the member does, served to clients and nodes.

``app.py`` starts and stops, ``wiring.py`` makes everything, ``faces/`` are the wires that end here.  What
is done stands in ``collective.member``.  Refuses other roles and chunk storage.
"""
