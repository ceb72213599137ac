"""Whole directories in and out.

``plan`` decides, on values, what is done about each name; ``putting`` and ``getting`` do it, a few
files at a time.  What one name meets is said of that name, and the others go on.
"""
