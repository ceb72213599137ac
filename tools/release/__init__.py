"""What is handed out: packages made of one commit, the same bytes each time, and the release itself.

``python -m tools.release build`` makes the packages of HEAD; ``python -m tools.release cut VERSION`` checks, sets the
version, builds and tags.  docs/packages.md says what there is and how to check it; ADR 29 why it is so.
"""
