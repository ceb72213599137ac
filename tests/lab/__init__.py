"""Three members on hosts of their own, with distance, loss and partitions between them."""
