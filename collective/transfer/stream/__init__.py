"""The chunk stream: framing, connections, server and client."""
