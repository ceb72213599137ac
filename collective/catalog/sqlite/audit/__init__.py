"""The audit: who did what and who was refused what, kept within its size."""
