"""The member's nodes: which are there, approved, refused, adopted, emptied, removed."""
