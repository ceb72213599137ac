"""What every way to a member's files promises: in its own process, over the network, and through a peer."""
