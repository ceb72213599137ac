"""The engine that moves a file: cuts, names, sends and records it, or fetches and checks it.

It works over a *control* (``control``), which decides and plans: the member's coordinator by gRPC for a
client, the member itself where the coordinator moves a file for somebody.  Owns memory, order, retries
and the choice between copies.  Refuses names: the caller says how an upload or a read begins.
"""
