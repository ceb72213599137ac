"""The nodes of the member, and what they have seen of its catalogue."""
