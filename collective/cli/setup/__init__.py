"""Setting up a process of a member: questions, a commented settings file, checks, and the start."""
