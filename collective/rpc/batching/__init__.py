"""Natural batching of unary calls: those that wait together go in one message of one long-lived stream.

A unary call over HTTP/2 costs each side a stream of its own, with headers both ways; many small calls in one
message cost little.  What is ready when the event loop comes round goes together: there is no timer, and
nothing waits for more to come.  The stream is only another way to carry a call: at the server each passes
:class:`~collective.rpc.server.service_edge.ServiceEdge` with its own request id, deadline, rights and error, and is
answered when it ends, whatever becomes of those beside it.
"""
