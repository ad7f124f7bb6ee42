"""gRPC: the guarded server, the channel, and what a call carries from hop to hop."""
