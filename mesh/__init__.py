"""Plumbing: gRPC, PostgreSQL, NATS, processes. Knows nothing of donations; would read the same if we sold shoes."""
