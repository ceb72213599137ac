"""Where copies go, what is repaired first, and which nodes count: pure decisions.

Every function takes a snapshot and returns a decision; time is an argument, randomness is passed
in.  Refuses any I/O, any clock and any task.
"""
