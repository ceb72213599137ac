"""Adapters between gRPC messages and the member's values."""
