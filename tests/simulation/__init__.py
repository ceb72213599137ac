"""A whole member in one thread on a virtual clock, with faults, judged by a model of what was promised."""
