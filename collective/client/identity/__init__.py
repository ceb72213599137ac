"""Who this machine is and what it has joined: one identity, its key and many collectives."""
