"""The node: stores chunks and nothing else.

``app.py`` wires; ``enrolment.py`` gets the certificate; ``heartbeat.py`` keeps in touch with the
coordinator; ``service.py`` obeys it; ``scrub.py`` re-reads everything.  Knows no file names.
"""
