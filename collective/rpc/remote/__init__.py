"""A member over gRPC: its methods in plain values, with the deadlines and retries of a client.

Owns which calls may be made again.  Refuses decisions: what a call means is said at the other end.
"""
