"""Between protocol messages and values; each field from outside is checked here."""
