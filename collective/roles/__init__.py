"""The roles a process may have, and the runtime that they share."""
