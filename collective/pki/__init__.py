"""Certificates, identities, the trust rule, renewal, revocation and join codes.

Owns what a certificate may say and when it counts.  Refuses the network; every function gets the
time it decides by.  Only ``files.py`` touches a disk, through ``core.disk``.
"""
