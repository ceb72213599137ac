"""Who may do what: pure decisions over grants, paths and an injected time.

Refuses all I/O.  Invariant: outside all of a caller's grants the answer is always refusal, decided
from path and grants alone.
"""
