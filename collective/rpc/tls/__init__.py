"""TLS 1.3: contexts, the handshake, and the gates that say whose certificates count."""
