"""Which chunks nothing refers to, and which of their copies nodes may delete."""
