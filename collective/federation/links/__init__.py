"""The connection to each peer: whether it is there, and the bounds of what goes over it."""
