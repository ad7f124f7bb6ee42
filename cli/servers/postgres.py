"""PostgreSQL 18 with the settings of production. It refuses to run as root, so root lends it the user `nobody`."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

import asyncpg

from cli import family
from cli.folder import DataFolder, write_private
from cli.part import Part, run
from cli.refusal import CommandRefused
from cli.running import Running, Show, ignore
from cli.servers import place
from cli.servers.place import Place

DATABASE = "giving"
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "shared_buffers": "128MB",
        "max_connections": "200",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        # The details of an error show the whole row that it is about, secrets with it.
        "log_error_verbosity": "terse",
    }
)
_NONE: Mapping[str, str] = MappingProxyType({})


class Postgres(Running):
    """A cluster in a folder. `dsn` is the superuser's, for the database that the mesh uses."""

    def __init__(self, *, folder: DataFolder, port: int, settings: Mapping[str, str] = _NONE, show: Show = ignore) -> None:
        self._folder = folder
        self._place = place.choose(folder.path)
        self.root = self._place.root
        self.password = folder.secret("postgres_password")
        self.dsn = administrator_dsn(folder, address=f"127.0.0.1:{port}")
        super().__init__(_part(self._place, port, {**SETTINGS, **settings}), show=show)

    async def start(self) -> None:
        self._place.prepare()
        await self._initialise()
        _clear_stale_pid_file(self._place.data)
        await super().start()
        await self._create_database()

    async def _initialise(self) -> None:
        """Builds the cluster aside, so that a crash in between leaves none half built."""
        data = self._place.data
        if data.exists():
            return
        scratch = data.with_name("postgres.new")
        shutil.rmtree(scratch, ignore_errors=True)
        self._place.make_owned(scratch)
        password = data.with_name("postgres.password")
        write_private(password, self.password)
        self._place.own(password)
        try:
            await _run_program(self._place, "initdb", *_initdb_arguments(scratch, password))
        finally:
            password.unlink()
        scratch.rename(data)

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.dsn.replace(f"/{DATABASE}", "/postgres"), timeout=5)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def postgres(folder: Path, *, port: int = 0, settings: Mapping[str, str] = _NONE) -> AsyncIterator[Postgres]:
    """A running server with its data in `folder`; the next one finds it again."""
    data = DataFolder(folder)
    data.prepare()
    server = Postgres(folder=data, port=data.ports().port("postgres", configured=port), settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def administrator_dsn(folder: DataFolder, *, address: str) -> str:
    """The superuser's DSN of the server of this folder that answers at `address` (host:port)."""
    return f"postgresql://postgres:{folder.secret('postgres_password')}@{address}/{DATABASE}"


def _part(where: Place, port: int, settings: Mapping[str, str]) -> Part:
    options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    return Part(
        name="postgres",
        command=(str(where.program("postgres")), "-D", str(where.data), "-p", str(port), *options),
        probe="postgres",
        address=f"127.0.0.1:{port}",
        environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        folder=where.data,
        account=where.account,
        stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
        stop_s_max=30,
    )


def _initdb_arguments(data: Path, password: Path) -> tuple[str, ...]:
    return (
        f"--pgdata={data}",
        "--username=postgres",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    )


async def _run_program(where: Place, program: str, *arguments: str) -> None:
    part = Part(
        name=program,
        command=(str(where.program(program)), *arguments),
        probe="",
        environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        folder=where.root,
        account=where.account,
    )
    await run(part)


def _clear_stale_pid_file(data: Path) -> None:
    """Removes the pid file of a dead server.

    PostgreSQL does so itself, except when another process has got the same pid since.

    Raises:
        CommandRefused: a living server that is not ours works on this folder.
    """
    path = data / "postmaster.pid"
    if not path.exists():
        return
    pid = int(path.read_text().split(maxsplit=1)[0])
    if family.key_of(pid) is None:
        path.unlink()
    elif folder := _working_folder(pid):
        if folder == data:
            raise CommandRefused(f"another PostgreSQL (process {pid}) works on {data}: stop it first, `kill {pid}`")
        path.unlink()


def _working_folder(pid: int) -> Path | None:
    """None where we may not know; then PostgreSQL decides."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None
