"""`mesh up`: servers, migrations, services, gateways, each wave behind its health gates."""

from __future__ import annotations

import dataclasses
import functools
import shutil

from rich.console import Console

from cli import migration, ports, runfile, welcome
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.lines import Terminal
from cli.processes import Ports, Processes, Servers
from cli.refusal import CommandRefused
from cli.running import Running, Show
from cli.servers import Nats, Postgres, Valkey
from cli.stripe import Stripe, stripe_of
from cli.supervise import Supervisor

# Room that PostgreSQL and JetStream need to begin with.
_FREE_BYTES_LOW = 1 << 30


async def up(*, folder: DataFolder, settings: MeshSettings, console: Console) -> None:
    """Starts everything and watches over it until a signal comes.

    Raises:
        CommandRefused: something stands in the way; nothing is left running.
    """
    folder.prepare()
    show = Terminal(console, chatter=settings.log_level == "debug").show
    with folder.locked():
        for name in await runfile.clear_strays(folder):
            show("mesh", f"{name} was left over from a mesh that was killed; ended it")
        if shutil.disk_usage(folder.path).free < _FREE_BYTES_LOW:
            show("mesh", f"less than 1 GiB is free for {folder.path}")
        record = functools.partial(runfile.write, folder)
        supervisor = Supervisor(show=show, record=record, restart_s_max=settings.restart_s_max)
        try:
            await supervisor.run(_Startup(folder, settings, console, supervisor, show).run)
        finally:
            folder.run_file.unlink(missing_ok=True)
        show("mesh", "everything has stopped")


class _Startup:
    def __init__(
        self, folder: DataFolder, settings: MeshSettings, console: Console, supervisor: Supervisor, show: Show
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._console = console
        self._supervisor = supervisor
        self._show = show

    async def run(self) -> None:
        stripe = stripe_of(self._settings, self._folder)
        addresses = _ports(self._settings, stripe)
        servers, embedded = _servers(self._folder, self._settings, self._show)
        processes = Processes(settings=self._settings, folder=self._folder, ports=addresses, servers=servers, stripe=stripe)
        await self._supervisor.start(*embedded)
        for name in await migration.migrate_all(folder=self._folder, admin_dsn=servers.admin_dsn):
            self._show("mesh", f"migrated {name}")
        for wave in (processes.sandbox(), processes.services(), processes.gateways()):
            await self._supervisor.start(*(Running(part, show=self._show) for part in wave))
        token = self._folder.secret("development_token")
        text = welcome.text(ports=addresses, token=token, ports_file=self._folder.ports_file, stripe=stripe)
        self._console.print(text, markup=False, soft_wrap=True)


def _say_where(postgres: Postgres, folder: DataFolder, show: Show) -> None:
    if postgres.root != folder.path:
        show("mesh", f"PostgreSQL keeps its data in {postgres.root}: its user cannot reach {folder.path}")


def _ports(settings: MeshSettings, stripe: Stripe) -> Ports:
    """The ports of our own processes; all that are taken are named at once."""
    _demand_different(settings)
    names = [field.name for field in dataclasses.fields(Ports)]
    chosen = {name: int(getattr(settings, f"{name}_port")) for name in names}
    needed = {name: port for name, port in chosen.items() if name != "sandbox" or stripe.sandbox_url}
    taken = [ports.taken(port, variable=f"{name.upper()}_PORT") for name, port in needed.items() if not ports.is_free(port)]
    if taken:
        raise CommandRefused("; ".join(taken))
    return Ports(**chosen)


def _demand_different(settings: MeshSettings) -> None:
    chosen = {name: port for name, port in settings.model_dump().items() if name.endswith("_port") and port}
    for port in chosen.values():
        names = [name.upper() for name in chosen if chosen[name] == port]
        if len(names) > 1:
            raise CommandRefused(f"{' and '.join(names)} are both {port}: set one of them to another port")


def _servers(folder: DataFolder, settings: MeshSettings, show: Show) -> tuple[Servers, list[Running]]:
    """Where the servers are, and those of them that we run."""
    embedded: list[Running] = []
    admin_dsn = settings.database_url.get_secret_value() if settings.database_url else ""
    nats_url = settings.nats_url.get_secret_value() if settings.nats_url else ""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    if not admin_dsn:
        postgres = _postgres(folder, settings, show)
        _say_where(postgres, folder, show)
        admin_dsn = postgres.dsn
        embedded.append(postgres)
    if not nats_url:
        nats = _nats(folder, settings, show)
        nats_url = nats.url
        embedded.append(nats)
    if not redis_url:
        valkey = Valkey(folder=folder, port=folder.ports().port("valkey", configured=settings.valkey_port), show=show)
        redis_url = valkey.url
        embedded.append(valkey)
    return Servers(admin_dsn=admin_dsn, nats_url=nats_url, redis_url=redis_url), embedded


def _postgres(folder: DataFolder, settings: MeshSettings, show: Show) -> Postgres:
    return Postgres(folder=folder, port=folder.ports().port("postgres", configured=settings.postgres_port), show=show)


def _nats(folder: DataFolder, settings: MeshSettings, show: Show) -> Nats:
    book = folder.ports()
    return Nats(
        folder=folder,
        port=book.port("nats", configured=settings.nats_port),
        monitoring_port=book.port("nats_monitoring"),
        show=show,
    )
