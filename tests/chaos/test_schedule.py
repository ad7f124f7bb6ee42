"""A seed is a plan: the same faults every time, none that a run could not bring about, and every point that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos import edges, points, schedule
from chaos.processes import PARTS
from chaos.proxy import Mode
from chaos.schedule import EVERYTHING
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.processes import Ports, Processes, Servers
from cli.stripe import sandbox_of

ROOT = Path(__file__).parents[2]
SEEDS = [str(seed) for seed in range(40)]
# Reached only by what a run does not do: files of settlements, captures of held money, promises that nobody pays for a day.
NOT_IN_A_RUN = {
    "donation.abandoned",
    "payment.cancel_called",
    "payment.capture_called",
    "aggregator.rebuild_read",
    "aggregator.rebuild_replaced",
}


def test_a_seed_draws_the_same_faults_every_time_and_another_seed_others(tmp_path: Path):
    first = schedule.draw("7", seconds=40, losses=True)
    assert first == schedule.draw("7", seconds=40, losses=True) != schedule.draw("8", seconds=40, losses=True)
    schedule.save(tmp_path / "schedule.json", first)
    assert schedule.load(tmp_path / "schedule.json") == first


def test_faults_end_before_the_load_does_and_are_such_as_their_target_knows():
    targets = {*PARTS, *edges.ALL, "webhooks", "provider", EVERYTHING}
    faults = [fault for seed in SEEDS for fault in schedule.draw(seed, seconds=40, losses=True)]
    assert {fault.target for fault in faults} == targets
    assert {fault.kind for fault in faults if fault.target in edges.ALL} == set(Mode) - {Mode.PASS}
    assert all(0 < fault.at_s < 40 for fault in faults)


def test_a_run_without_losses_loses_nothing_and_one_with_losses_loses_the_stream_behind_a_backlog():
    for seed in SEEDS:
        assert not any(fault.kind in ("wipe", "rewind") for fault in schedule.draw(seed, seconds=40, losses=False))
        faults = schedule.draw(seed, seconds=40, losses=True)
        assert any(fault.loses for fault in faults)
        assert ("aggregator", "pause", 3.0) in {(fault.target, fault.kind, fault.seconds) for fault in faults}


def test_every_edge_is_a_setting_of_its_part(tmp_path: Path):
    data = DataFolder(tmp_path)
    data.prepare()
    addresses = {name: f"127.0.0.1:{number}" for number, name in enumerate(edges.OF_PARTS, start=10_000)}
    settings = MeshSettings.model_construct(edges=addresses, event_shards=8, cors_origins=[], log_level="info")
    servers = Servers(
        admin_dsn="postgresql://postgres:p@127.0.0.1:1/giving",
        nats_url="nats://127.0.0.1:2",
        redis_url="redis://127.0.0.1:3/0",
    )
    names = ("donation", "payment", "aggregator", "gateway", "live", "sandbox")
    ports = Ports(**{name: number for number, name in enumerate(names, start=20)})
    stripe = sandbox_of(data, address="127.0.0.1:25")
    made = Processes(settings=settings, folder=data, ports=ports, servers=servers, stripe=stripe)
    parts = {part.name: part for part in (*made.sandbox(), *made.services(), *made.gateways())}
    for edge, address in addresses.items():
        name, _, variable = edge.partition(".")
        assert address in parts[name].environment[variable]
    assert parts["donation"].environment["DATABASE_URL"].startswith("postgresql://donation_service:")
    assert parts["gateway"].environment["LIVE_URL"] == "http://127.0.0.1:24"


def test_every_labelled_point_of_the_services_is_known():
    written = "\n".join(
        path.read_text()
        for package in ("mesh", "donation_svc", "payment_svc", "aggregator_svc", "gateway")
        for path in (ROOT / package).rglob("*.py")
    )
    labels = set(re.findall(r'crashpoints\.reach\("([\w.]+)"\)', written))
    labels = {label for label in labels if not label.startswith("settlement.")} - NOT_IN_A_RUN
    # One point of the gateway is named after the method that is called.
    known = {label for of_role in points.POINTS.values() for label in of_role} - {
        "gateway.CreateDonation",
        "gateway.RefundDonation",
    }
    assert known == labels


def test_a_quarter_of_the_points_is_on_with_a_seed_and_each_with_some():
    chosen = [
        {(role, label) for role, labels in points.choose(seed)["points"].items() for label in labels} for seed in SEEDS
    ]
    known = {(role, label) for role, labels in points.POINTS.items() for label in labels}
    assert set().union(*chosen) == known
    assert 0.15 < sum(map(len, chosen)) / len(known) / len(SEEDS) < 0.35


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_points_of_a_seed_are_the_same_every_time(seed: str):
    assert points.choose(seed) == points.choose(seed)


def test_points_that_are_named_are_on_and_no_others():
    named = {"donation": {"relay.publishing": 3}}
    assert points.choose("7", on=named)["points"] == named
    assert points.choose("7", on={})["points"] == {}
