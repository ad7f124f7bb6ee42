"""The service's own state in PostgreSQL. Statements stand in queries.sql."""
