"""The serving end: the listener, its bounds, the edge of every service, and the standard services."""
