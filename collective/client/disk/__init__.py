"""This machine's files as the client meets them: links, modes, times, holes.  Blocking.

``core.disk`` has no words for these: it is for what the product itself keeps.
"""
