"""What members tell each other of themselves, and of the peers that they have in common."""
