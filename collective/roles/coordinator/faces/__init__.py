"""Wires that end at this coordinator, one package each: gRPC today, S3 and web beside it later."""
