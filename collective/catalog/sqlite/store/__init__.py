"""The database as a whole: opening and custody of its files, the one writer, snapshots, rows that every subject reads."""
