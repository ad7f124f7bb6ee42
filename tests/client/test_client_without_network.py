"""The blocking client over gRPC's own channel for tests, and the package by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc_testing
import pytest
from giving.donation.v1 import donation_pb2, donation_service_pb2
from giving_client import MeshClient, MeshError

ROOT = Path(__file__).resolve().parents[2]
SERVICE = donation_service_pb2.DESCRIPTOR.services_by_name["DonationService"]
RECORD = SERVICE.methods_by_name["RecordDonation"]


@pytest.mark.requirement("INT-9")
def test_the_blocking_client_sends_the_same_request_again() -> None:
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    with MeshClient("mesh", open_channel=lambda _: channel, sleep=lambda _: None) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.record_donation, campaign_id="c", minor_units=250, currency="USD", payment_ref="order-1")
        _, first, rpc = channel.take_unary_unary(RECORD)
        rpc.terminate(None, (), grpc.StatusCode.UNAVAILABLE, "gone")
        _, second, rpc = channel.take_unary_unary(RECORD)
        rpc.send_initial_metadata(())
        response = donation_service_pb2.RecordDonationResponse(donation=donation_pb2.Donation(donation_id="d1"))
        rpc.terminate(response, (("idempotent-replayed", "true"),), grpc.StatusCode.OK, "")

        assert (answer.result().donation.donation_id, answer.result().replayed) == ("d1", True)
    assert first == second
    assert first.payment_ref == "order-1"


def test_a_status_that_is_no_status_is_an_error_without_reason() -> None:
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    with MeshClient("mesh", open_channel=lambda _: channel) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.record_donation, campaign_id="c", minor_units=250, currency="USD", payment_ref="order-1")
        _, _, rpc = channel.take_unary_unary(RECORD)
        rpc.terminate(None, (("grpc-status-details-bin", b"\xff"),), grpc.StatusCode.INTERNAL, "internal error")
        error = answer.exception()
    assert isinstance(error, MeshError)
    assert (error.reason, error.detail) == ("", "internal error")


@pytest.mark.requirement("INT-9")
def test_the_package_is_installable_alone(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for folder in ("client", "gen"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", tmp_path / "out", tmp_path / "client"], check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    check = (
        "import sys; import giving_client, giving, buf; "
        "assert all('.whl' in module.__file__ for module in (giving_client, giving, buf)); "
        "assert not {'mesh', 'protovalidate', 'asyncpg'} & set(sys.modules); "
        "print(giving_client.MeshClient('127.0.0.1:1').record_donation.__doc__)"
    )
    # Neither the repository nor the environment's own .pth files: the wheel and its dependencies alone.
    environment = {"PYTHONPATH": f"{wheel}:{sysconfig.get_path('purelib')}", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(
        [sys.executable, "-S", "-c", check], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert shown.stdout.startswith("Records a donation")
