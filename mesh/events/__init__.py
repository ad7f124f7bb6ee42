"""Events: the append-only log in PostgreSQL, the relay that carries it to JetStream, the consumers that apply it."""
