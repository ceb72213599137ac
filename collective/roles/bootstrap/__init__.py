"""A bootstrap listener in a process of its own: no CA key, no state, only forwarding."""
