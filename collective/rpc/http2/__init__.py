"""HTTP/2 below gRPC: bounds on messages and memory, writes in one piece, the last word, the end."""
