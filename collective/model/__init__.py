"""The shared words as values: one form each, for client and catalogue alike; no behaviour."""
