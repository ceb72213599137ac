"""Certificates: renewals, revocations, the CA's replacement."""
