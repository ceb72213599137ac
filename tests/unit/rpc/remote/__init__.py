"""What the remote faces of a member do about answers."""
