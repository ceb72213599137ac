"""What keeps the copies well: repair, verification, collection."""
