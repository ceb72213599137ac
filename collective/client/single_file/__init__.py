"""Between this machine's files and a member."""
