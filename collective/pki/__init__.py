"""Certificates, identities, the trust rule, renewal, revocation and codes of invites.

Owns what a certificate may say and when it counts.  Refuses the network; every function gets the
time it decides by.  Only ``pem_files.py`` touches a disk, through ``core.disk``.
"""
