"""The files of another member, over the connection to its coordinator."""
