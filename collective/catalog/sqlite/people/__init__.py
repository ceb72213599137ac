"""Who may do what: codes, identities, keys and certificates, revocations, grants."""
