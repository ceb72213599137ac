"""Names, uploads, reads."""
