"""Members that peer, as real processes."""
