from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli import family, runfile
from cli.folder import DataFolder
from cli.part import Part
from cli.refusal import CommandRefused
from cli.running import Running
from cli.supervise import Supervisor, backoff_s
from tests.cli.mesh_terminal import ROOT, environment, until
from tests.cli.pretend_parts import Fakes


class Shown:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@asynccontextmanager
async def supervised(*waves: list[Running], shown: Shown) -> AsyncIterator[Supervisor]:
    """All waves started; stopped in order at the end."""
    supervisor = Supervisor(show=shown, record=lambda _: None)
    started = asyncio.Event()

    async def startup() -> None:
        for wave in waves:
            await supervisor.start(*wave)
        started.set()

    run = asyncio.create_task(supervisor.run(startup))
    async with asyncio.timeout(20):
        await started.wait()
    yield supervisor
    supervisor.ask_to_stop()
    async with asyncio.timeout(20):
        await run


@pytest.mark.requirement("OPS-6")
async def test_parts_stop_in_the_reverse_order_of_their_start_and_nothing_is_left(fakes: Fakes):
    parts = [Running(fakes.part(name)) for name in ("first", "second", "third")]
    async with supervised(*([part] for part in parts), shown=Shown()):
        members = set().union(*(part.family() for part in parts))
    assert fakes.lines() == [
        *(f"{name} started" for name in ("first", "second", "third")),
        *(f"{name} stopped" for name in ("third", "second", "first")),
    ]
    assert not any(map(family.is_alive, members))


async def test_a_wave_starts_only_when_the_one_before_is_ready(fakes: Fakes):
    never = Part(
        name="never", command=(sys.executable, "-c", "input()"), probe="valkey", address="127.0.0.1:1", start_s_max=0.5
    )
    supervisor = Supervisor(show=Shown(), record=lambda _: None)

    async def startup() -> None:
        await supervisor.start(Running(never))
        await supervisor.start(Running(fakes.part("after")))

    with pytest.raises(CommandRefused, match=r"^never "):
        await supervisor.run(startup)
    assert fakes.lines() == []


async def test_a_crashed_part_is_started_again(fakes: Fakes):
    part, shown = Running(fakes.part("fragile")), Shown()
    async with supervised([part], shown=shown):
        killed = part.pid
        os.kill(killed, signal.SIGKILL)
        await until(lambda: shown.has("fragile is ready again"))
        assert part.pid not in (None, killed)
    assert shown.has("fragile ended with code -9; starting it again in 0.2 s")
    assert fakes.lines() == ["fragile started", "fragile started", "fragile stopped"]


def test_the_pause_before_a_restart_grows_and_is_bounded():
    pauses = [backoff_s(crashes) for crashes in range(1, 100)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    assert [backoff_s(crashes, longest_s=0.5) for crashes in (1, 2, 3, 99)] == [0.2, 0.4, 0.5, 0.5]


async def test_a_failed_start_stops_what_had_started_and_says_why(fakes: Fakes):
    good = Running(fakes.part("good"))
    bad = Part(
        name="bad", command=(sys.executable, "-c", "raise SystemExit('no luck')"), probe="valkey", address="127.0.0.1:1"
    )
    supervisor = Supervisor(show=Shown(), record=lambda _: None)

    async def startup() -> None:
        await supervisor.start(good)
        await supervisor.start(Running(bad))

    with pytest.raises(CommandRefused, match=r"^bad ended with code 1: no luck$"):
        await supervisor.run(startup)
    assert good.pid is None
    assert fakes.lines() == ["good started", "good stopped"]


@pytest.mark.requirement("OPS-6")
async def test_a_part_that_does_not_listen_to_sigterm_is_killed_after_its_bound(fakes: Fakes):
    part = Running(fakes.part("deaf", speed="deaf", stop_s_max=0.3))
    async with supervised([part], shown=Shown()):
        members = part.family()
    assert not any(map(family.is_alive, members))


async def test_a_second_request_kills_at_once(fakes: Fakes):
    part = Running(fakes.part("deaf", speed="deaf", stop_s_max=3600))
    async with supervised([part], shown=Shown()) as supervisor:
        supervisor.ask_to_stop()
    assert part.pid is None


async def test_grandchildren_are_killed_with_their_parent(fakes: Fakes):
    part = fakes.part("parent")
    nested = ("/bin/sh", "-c", '"$0" "$@" & wait', *part.command)
    running = Running(Part(name="parent", command=nested, probe=part.probe, address=part.address, environment=environment()))
    await running.start()
    members = running.family()
    assert len(members) == 2
    await running.kill()
    assert not any(map(family.is_alive, members))


_SUPERVISING = """
import asyncio, sys
from pathlib import Path
from cli import runfile
from cli.folder import DataFolder
from cli.supervise import Supervisor
from tests.cli.pretend_parts import Fakes
from cli.ports import PortBook
from cli.running import Running

folder = DataFolder(Path(sys.argv[1]))
fakes = Fakes(folder.path / "journal", PortBook(folder.path / "ports.json"))
supervisor = Supervisor(show=lambda name, line: None, record=lambda parts: runfile.write(folder, parts))

async def startup():
    await supervisor.start(Running(fakes.part("one")), Running(fakes.part("two")))
    print("up", flush=True)

asyncio.run(supervisor.run(startup))
"""


@asynccontextmanager
async def supervisor_process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    DataFolder(folder).prepare()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SUPERVISING, str(folder), env=environment(), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"up\n"
    yield process
    await process.communicate()


@pytest.mark.requirement("OPS-6")
async def test_sigterm_to_the_supervisor_stops_all_parts(tmp_path: Path):
    async with supervisor_process(tmp_path / "data") as process:
        run = runfile.read(DataFolder(tmp_path / "data"))
        process.terminate()
        assert await process.wait() == 0
    assert not any(family.is_alive(entry.key) for entry in run.parts)
    assert len((tmp_path / "data" / "journal").read_text().splitlines()) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_parts_die_with_a_supervisor_that_was_killed(tmp_path: Path):
    async with supervisor_process(tmp_path / "data") as process:
        run = runfile.read(DataFolder(tmp_path / "data"))
        process.kill()
        assert await family.gone([entry.key for entry in run.parts], within_s=10)


async def test_the_next_start_ends_strays_that_the_run_file_names(fakes: Fakes, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(runfile, "_DYING_S_MAX", 0.05)
    folder = DataFolder(tmp_path)
    stray = Running(fakes.part("stray"))
    await stray.start()
    runfile.write(folder, [stray])
    members = stray.family()
    assert await runfile.clear_strays(folder) == ["stray"]
    assert not any(map(family.is_alive, members))
    assert runfile.read(folder) is None
    await stray.kill()


async def test_a_process_that_only_has_a_strays_pid_is_left_alone(fakes: Fakes, tmp_path: Path):
    folder = DataFolder(tmp_path)
    other = Running(fakes.part("other"))
    await other.start()
    runfile.write(folder, [other])
    text = folder.run_file.read_text()
    folder.run_file.write_text(text.replace(f'"started": {other.key.started}', '"started": 1'))
    assert await runfile.clear_strays(folder) == []
    assert other.pid is not None
    await other.stop()
