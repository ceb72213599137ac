"""What members cost each other, one subject in each module; ``python -m tests.bench.peers`` runs them."""
