"""What a member does, in plain values: files, people, nodes, care, trust.

Refuses gRPC, sockets and SQL.
"""
