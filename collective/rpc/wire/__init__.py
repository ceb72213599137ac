"""What goes over a connection: messages to bytes and back, and the writes that carry them."""
