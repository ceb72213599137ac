"""The calling end: channels, how they connect, and questions for a diagnosis."""
