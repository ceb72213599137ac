"""``collective demo``: three members on this machine that peer."""
