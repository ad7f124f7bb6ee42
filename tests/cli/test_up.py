"""The whole mesh as a newcomer meets it: started by the command, used as the printed text says, stopped."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from cli import family, runfile
from cli.folder import DataFolder
from cli.invariants.catalogue import INVARIANTS
from cli.runfile import Run
from cli.stripe import sandbox_of
from tests.cli.mesh_terminal import ROOT, environment, mesh, until
from tests.support.folders import reachable_folder

_PARTS = ("payment_svc", "donation_svc", "aggregator_svc", "gateway", "sandbox")
_ABSENT = [part for part in _PARTS if importlib.util.find_spec(part) is None]
pytestmark = [
    pytest.mark.requirement("OPS-1"),
    pytest.mark.skipif(bool(_ABSENT), reason=f"needs {', '.join(_ABSENT)}, which this version does not have"),
]
_SERVICES = ("GATEWAY", "LIVE", "DONATION", "PAYMENT", "AGGREGATOR", "SANDBOX")


def settings(folder: Path) -> dict[str, str]:
    """Ports that nobody uses, and a quick end."""
    data = DataFolder(folder)
    data.prepare()
    ports = {f"{name}_PORT": str(data.ports().port(f"{name.lower()}_of_test")) for name in _SERVICES}
    return {**ports, "DRAIN_S": "0.1"}


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`mesh up`, and what it printed until everything was healthy."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "up", "--data", str(folder)),
        env=environment(**settings(folder)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed = []
    async with asyncio.timeout(60):
        while b"Ctrl-C here stops" not in (line := await process.stdout.readline()):
            assert line, "".join(printed)
            printed.append(line.decode())
    rest = asyncio.create_task(process.stdout.read())
    try:
        yield process, "".join(printed)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await rest


def block(printed: str, *, after: str) -> str:
    """The commands under a heading."""
    return re.split(r"\n\n(?=\S)", printed.split(after)[1])[0]


async def shell(script: str) -> str:
    process = await asyncio.create_subprocess_exec("sh", "-e", "-c", script, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode()


def run_of(folder: Path) -> Run:
    run = runfile.read(DataFolder(folder))
    assert run
    return run


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[tuple[Path, str]]:
    with reachable_folder() as path:
        async with started(path / "data") as (_, printed):
            yield path / "data", printed


@pytest.mark.skipif(not shutil.which("curl"), reason="the printed commands use curl: install it")
async def test_the_printed_commands_lead_from_a_charity_to_a_total(running: tuple[Path, str]):
    _, printed = running
    charity = json.loads(await shell(block(printed, after="A first charity:\n")))["charity"]
    assert charity["display_name"] == "Clean Water"
    out = await shell(block(printed, after="a campaign's total:\n"))
    assert charity["charity_id"] in out
    *_, totals, page = out.splitlines()
    assert '"totals"' in totals
    await opens(re.fullmatch(r"open (\S+) in a browser", page)[1])


async def opens(page: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(page) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")


@pytest.mark.requirement("INT-2", "INT-10")
@pytest.mark.skipif(not shutil.which("curl"), reason="the printed commands use curl: install it")
async def test_the_printed_commands_pay_as_a_donors_browser_does(running: tuple[Path, str]):
    _, printed = running
    whole_way = block(printed, after="a campaign's total:\n")
    out = await shell(f"{whole_way}\n{block(printed, after='what his browser does:')}")
    confirmed, *states, donation = out.split(" in a browser\n")[1].splitlines()
    assert (confirmed, states[-1]) == ("succeeded", "STATE_SUCCEEDED")
    paid = json.loads(donation)["donation"]
    assert (paid["state"], paid["gross"]["minor_units"]) == ("STATE_SUCCEEDED", "1000")


async def test_status_shows_every_part_healthy(running: tuple[Path, str]):
    folder, _ = running
    ended = await mesh("status", "--data", str(folder))
    assert ended.code == 0
    for name in ("postgres", "nats", "valkey", "sandbox", "donation", "payment", "aggregator", "gateway", "live"):
        assert re.search(rf"{name} .* healthy", ended.out)


async def test_migrating_a_running_mesh_finds_every_schema_as_it_should_be(running: tuple[Path, str]):
    folder, _ = running
    ended = await mesh("migrate", "--data", str(folder))
    assert (ended.code, ended.out) == (0, "every schema is as it should be\n")


async def test_the_demonstration_finds_that_all_books_agree(running: tuple[Path, str]):
    folder, _ = running
    ended = await mesh("demo", "--data", str(folder), "--donations", "200", "--paid-percent", "50")
    assert "100 promised and paid through the sandbox" in ended.out
    assert "all books agree" in ended.out, ended.out
    assert ended.code == 0


@pytest.mark.requirement("REC-2")
async def test_a_settlement_file_of_the_sandbox_is_held_against_the_books(running: tuple[Path, str], tmp_path: Path):
    folder, _ = running
    assert (await mesh("demo", "--data", str(folder), "--donations", "10", "--paid-percent", "100")).code == 0
    file, spoilt = tmp_path / "settlement.csv", tmp_path / "spoilt.csv"
    file.write_text(await settlement(folder))
    for options, told in (["--dry-run"], "a rehearsal, nothing was taken"), ([], "matched"), ([], "taken before"):
        ended = await mesh("reconcile", str(file), "--data", str(folder), *options)
        assert ended.code == 0, ended.out + ended.err
        assert told in ended.out
    spoilt.write_text(file.read_text()[:-5])
    ended = await mesh("reconcile", str(spoilt), "--data", str(folder))
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert re.search(r"nothing of it was taken: its end is missing in line \d+ \(truncated\)", ended.err)
    head, row, *_ = file.read_text().splitlines(keepends=True)
    spoilt.write_text(head + row + row)
    ended = await mesh("reconcile", str(spoilt), "--data", str(folder))
    assert ended.code == 1
    assert re.search(r"duplicate +│ (EUR|USD) +│ 1 ", ended.out)
    spoilt.write_text("")
    assert "is empty" in (await mesh("reconcile", str(spoilt), "--data", str(folder))).err


async def settlement(folder: Path) -> str:
    """The sandbox's report of everything."""
    stripe = sandbox_of(DataFolder(folder), address=str(run_of(folder).address("sandbox")))
    headers, asked = {"Authorization": f"Bearer {stripe.api_key}"}, {"start": "0", "end": "4000000000"}
    async with aiohttp.ClientSession(stripe.sandbox_url, headers=headers) as session:
        async with session.get("/sandbox/settlement.csv", params=asked) as answer:
            return await answer.text()


async def test_the_demonstration_only_records_where_nobody_shall_pay(running: tuple[Path, str]):
    folder, _ = running
    ended = await mesh("demo", "--data", str(folder), "--donations", "20", "--paid-percent", "0")
    assert "promised" not in ended.out
    assert "all books agree" in ended.out, ended.out
    campaign_id = re.search(r"campaign (\S+):", ended.out)[1]
    traced = await mesh("trace", f"demo-{campaign_id}-0", "--data", str(folder))
    assert "why   A checkout charged it, and it counts for" in traced.out, traced.err


@pytest.mark.requirement("OPS-4")
async def test_every_part_of_ours_shows_its_metrics_where_the_printed_line_says(running: tuple[Path, str]):
    folder, printed = running
    assert f"NAME_metrics in {DataFolder(folder).ports_file}" in printed
    for name, metric in {
        "donation": "relay_published_events_total",
        "payment": "consumer_events_total",
        "aggregator": "consumer_events_total",
        "gateway": "http_requests_total",
        "live": "sse_readers",
        "sandbox": "sandbox_webhooks_total",
    }.items():
        assert metric in await metrics(folder, name)


async def metrics(folder: Path, name: str) -> str:
    port = json.loads(DataFolder(folder).ports_file.read_text())[f"{name}_metrics"]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


@pytest.mark.requirement("EVT-10")
async def test_after_a_new_epoch_everything_is_published_again_and_totals_stay_exact(running: tuple[Path, str]):
    folder, _ = running
    ended = await mesh("demo", "--data", str(folder), "--donations", "100")
    campaign_id = re.search(r"campaign (\S+):", ended.out)[1]
    totals, before = await totals_of(folder, campaign_id), await published(folder, "donation")

    opened = await mesh("epoch", "donation", "--reason", "restored in a test", "--data", str(folder))
    assert (opened.code, opened.out) == (0, "donation is in epoch 2; its relay publishes everything again\n")
    async with asyncio.timeout(20):
        while await published(folder, "donation") < 2 * before:  # noqa: ASYNC110 - only its metrics tell
            await asyncio.sleep(0.05)

    # Its gifts come after everything that was published again, so that has been applied when they are.
    later = await mesh("demo", "--data", str(folder), "--donations", "100")
    assert "all books agree" in later.out, later.out
    assert await totals_of(folder, campaign_id) == totals


async def totals_of(folder: Path, campaign_id: str) -> list[dict[str, str]]:
    url = f"http://{run_of(folder).address('gateway')}/v1/campaigns/{campaign_id}/totals"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return (await answer.json())["totals"]["currencies"]


async def published(folder: Path, service: str) -> float:
    """How many events its relay has published since it started, for the first time or again."""
    pattern = rf'^relay_\w*published_events_total{{service="{service}"}} (\S+)$'
    return sum(map(float, re.findall(pattern, await metrics(folder, service), re.MULTILINE)))


@pytest.mark.requirement("EVT-6", "IDM-1", "PAY-3", "RES-2")
async def test_the_books_agree_when_servers_and_services_are_killed_under_the_demonstration(running: tuple[Path, str]):
    folder, _ = running
    demonstration = asyncio.create_task(mesh("demo", "--data", str(folder), "--donations", "1500"))
    for name in ("sandbox", "payment", "donation", "gateway", "nats", "valkey", "postgres", "aggregator"):
        await killed_and_back(folder, name)
    ended = await demonstration
    assert "all books agree" in ended.out, ended.out
    assert ended.code == 0
    checked = await mesh("check", "--wait", "30", "--json", "--data", str(folder))
    said = json.loads(checked.out)["invariants"]
    assert {entry["number"]: entry for entry in said if entry["verdict"] != "holds"} == {}
    assert (checked.code, len(said)) == (0, len(INVARIANTS))


async def killed_and_back(folder: Path, name: str) -> None:
    """Kills a part and waits until the supervisor has started another."""
    first = pid_of(folder, name)
    os.kill(first, signal.SIGKILL)
    await until(lambda: pid_of(folder, name) not in (0, first))


def pid_of(folder: Path, name: str) -> int:
    return next((entry.pid for entry in run_of(folder).parts if entry.name == name), 0)


@pytest.mark.requirement("OPS-6")
async def test_down_stops_everything_and_the_next_start_finds_the_data(folder: Path):
    async with started(folder) as (process, first):
        run = run_of(folder)
        ended = await mesh("down", "--data", str(folder))
        assert ended.out.startswith("stopped 9 parts in ")
        assert await process.wait() == 0
    assert not any(family.is_alive(entry.key) for entry in run.parts)
    async with started(folder) as (_, second):
        assert "migrated" not in second
        assert [line for line in first.splitlines() if "token" in line] == [
            line for line in second.splitlines() if "token" in line
        ]


async def test_after_a_kill_of_the_supervisor_the_next_start_is_clean(folder: Path):
    async with started(folder) as (process, _):
        run = run_of(folder)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    async with started(folder):
        assert not any(family.is_alive(entry.key) for entry in run.parts)
        assert len(run_of(folder).parts) == len(run.parts)
