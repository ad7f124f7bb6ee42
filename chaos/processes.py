"""The mesh under test: `mesh up` of a source tree, its parts signalled by the pids of its run file.

Its supervisor starts again whatever dies. It is stopped itself for the moment in which a store is exchanged under a part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from chaos import edges
from chaos.plan import RunFolder
from chaos.proxy import Mode, Proxy
from cli import family, launch, runfile, status
from cli.config import MeshSettings
from cli.family import ProcessKey
from cli.folder import DataFolder
from cli.places import Places, of_run
from cli.ports import PortBook
from cli.runfile import Entry, Run

SERVICES = ("donation", "payment", "aggregator", "gateway", "live", "sandbox")
PARTS = ("postgres", "nats", "valkey", *SERVICES)
_START_S_MAX = 90.0
_STOP_S_MAX = 60.0
_POLL_S = 0.05
# What a crashed part waits at most: a run has no time for a supervisor's patience.
_SETTINGS = {"RESTART_S_MAX": "0.5", "DRAIN_S": "0.1", "GRACE_S": "2", "LOG_LEVEL": "info", "PYTHONDONTWRITEBYTECODE": "1"}


class MeshDied(Exception):  # noqa: N818 - the run is over
    """The mesh's supervisor ended, or did not come up; its log says why."""


class Mesh:
    """A running mesh and the proxies on its edges."""

    def __init__(self, *, folder: RunFolder, tree: Path) -> None:
        self.data = DataFolder(folder.data)
        self.data.prepare()
        self._folder = folder
        self._tree = tree
        ports = PortBook(folder.path / "ports.json")
        self._addresses = {name: f"127.0.0.1:{ports.port(name)}" for name in PARTS}
        self.proxies = {
            name: Proxy(name=name, port=ports.port(name), target=self._addresses[target])
            for name, target in edges.ALL.items()
        }
        self._supervisor: asyncio.subprocess.Process | None = None

    @property
    def run(self) -> Run:
        """The run file as it stands.

        Raises:
            MeshDied: the supervisor has ended.
        """
        run = runfile.read(self.data)
        if run is None or not family.is_alive(run.supervisor):
            raise MeshDied
        return run

    @property
    def places(self) -> Places:
        """Where the books are, past every proxy."""
        embedded = MeshSettings.model_construct()  # whatever this terminal's environment says of other servers
        return of_run(self.run, self.data, embedded)

    def url(self, edge: str) -> str:
        """The address of a load's edge."""
        return f"http://{self.proxies[edge].address}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Up and healthy; afterwards nothing is left running."""
        async with contextlib.AsyncExitStack() as stack:
            for proxy in self.proxies.values():
                await stack.enter_async_context(proxy.listening())
            stack.push_async_callback(self._stop)
            await self._start()
            yield

    async def _start(self) -> None:
        with self._folder.log.open("ab") as log:
            self._supervisor = await asyncio.create_subprocess_exec(
                *_dying_with_us(sys.executable, "-m", "cli", "up", "--data", str(self.data.path)),
                env=self._environment(),
                cwd=self._tree,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not await self.healthy(within_s=_START_S_MAX):
            raise MeshDied(f"it did not come up, see {self._folder.log}")

    def _environment(self) -> Mapping[str, str]:
        ports = {f"{name.upper()}_PORT": address.rpartition(":")[2] for name, address in self._addresses.items()}
        ways = {name: self.proxies[name].address for name in edges.OF_PARTS}
        passed_on = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        path = os.pathsep.join(str(self._tree / name) for name in (".", "gen", "client"))
        chaos = {"CHAOS": str(self._folder.points), "EDGES": json.dumps(ways), "PYTHONPATH": path}
        return {**passed_on, **_SETTINGS, **ports, **chaos}

    async def healthy(self, *, within_s: float) -> bool:
        """Waits until every part is ready."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            if self._supervisor is not None and self._supervisor.returncode is not None:
                raise MeshDied(f"`mesh up` ended with code {self._supervisor.returncode}, see {self._folder.log}")
            run = runfile.read(self.data)
            if run and {entry.name for entry in run.parts} == set(PARTS) and await _all_ready(run):
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _stop(self) -> None:
        self.resume()
        if self._supervisor is None or self._supervisor.returncode is not None:
            return
        self._supervisor.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S_MAX):
                await self._supervisor.wait()
        except TimeoutError:
            self._supervisor.kill()
            await self._supervisor.wait()
        await runfile.clear_strays(self.data)

    def _members(self, name: str) -> set[ProcessKey]:
        entry = self._entry(name)
        return family.family(entry.key) if entry else set()

    def _entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.run.parts if entry.name == name), None)

    async def kill(self, name: str) -> None:
        """SIGKILL to a part and its children; returns when all are gone."""
        await family.kill(self._members(name))

    def pause(self, name: str) -> None:
        for key in self._members(name):
            family.send(key, signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        """SIGCONT to these parts, or to all."""
        run = runfile.read(self.data)
        for entry in run.parts if run else ():
            if not names or entry.name in names:
                for key in family.family(entry.key):
                    family.send(key, signal.SIGCONT)

    def copy_nats(self) -> Path:
        """Sets a copy of its store aside, as a disk would hold it at this moment."""
        copy = self.data.path / "nats.copy"
        shutil.rmtree(copy, ignore_errors=True)
        self.pause("nats")
        try:
            shutil.copytree(self.data.path / "nats", copy)
        finally:
            self.resume("nats")
        return copy

    async def exchange_nats(self, copy: Path | None) -> None:
        """Kills NATS; its next life finds the copy in the place of its store, or nothing."""
        store, lost = self.data.path / "nats", self.data.path / "nats.lost"
        with self._held_supervisor():
            await self.kill("nats")
            _exchange(store, copy, lost=lost)
        shutil.rmtree(lost, ignore_errors=True)

    @contextlib.contextmanager
    def _held_supervisor(self) -> Iterator[None]:
        """It starts nothing meanwhile."""
        supervisor = self.run.supervisor
        family.send(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            family.send(supervisor, signal.SIGCONT)

    async def heal(self) -> None:
        """Ends every fault of processes and edges; from now on nothing ends itself."""
        self._folder.healed.touch()
        for proxy in self.proxies.values():
            await proxy.turn(Mode.PASS)
        self.resume()


def _dying_with_us(*command: str) -> tuple[str, ...]:
    """The command, stopped by the kernel where this process is killed: a mesh that nobody watches would stay."""
    return (sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(int(signal.SIGTERM)), "-", "-", *command)


def _exchange(store: Path, copy: Path | None, *, lost: Path) -> None:
    """Two renames: nobody sees half of either."""
    if store.exists():
        store.rename(lost)
    if copy is not None:
        copy.rename(store)


async def _all_ready(run: Run) -> bool:
    ready = await asyncio.gather(*(status.is_healthy(entry) for entry in run.parts))
    return all(ready)
