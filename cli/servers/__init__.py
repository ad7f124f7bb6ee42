"""PostgreSQL, NATS and Valkey out of the environment's wheels, each a direct child with its data in a folder.

async with postgres(folder) as server:
    await asyncpg.connect(server.dsn)
    await server.kill()
    await server.start()
"""

from cli.servers.nats import Nats, nats
from cli.servers.postgres import Postgres, postgres
from cli.servers.valkey import Valkey, valkey

__all__ = ["Nats", "Postgres", "Valkey", "nats", "postgres", "valkey"]
