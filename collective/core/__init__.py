"""Foundations every package may use: errors, ids, paths, limits, settings, work, the world.

Owns no behaviour of the product.  The world (time, randomness, disk) appears here as interfaces
that are passed in, so that tests and the simulator can replace it.  Imports nothing of ours.
"""
