"""Trees put and got back, by the real client at a real member over a simulated network."""
