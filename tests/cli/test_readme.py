"""The README's examples, run as they are printed, with the real tools."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.config import MeshSettings
from cli.invariants.catalogue import INVARIANTS
from tests.cli.mesh_terminal import ROOT
from tests.cli.test_up import run_of, shell, started
from tests.support.folders import reachable_folder

README = (ROOT / "README.md").read_text()
DEFAULTS = {"gateway": 8080, "live": 8081, "donation": 8091, "payment": 8092, "aggregator": 8093, "sandbox": 8094}
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".tools/bin"), os.environ["PATH"]])
pytestmark = pytest.mark.requirement("OPS-2")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
async def folder() -> AsyncIterator[Path]:
    with reachable_folder() as path:
        async with started(path / "data"):
            yield path / "data"


def here(script: str, folder: Path) -> str:
    """A script of the README on the ports and the data folder of this run."""
    for name, port in DEFAULTS.items():
        script = script.replace(f"127.0.0.1:{port}", run_of(folder).address(name) or "")
    script = re.sub(r"^export PATH=.*$", "", script, flags=re.MULTILINE)
    python = f'mesh() {{ "{sys.executable}" -m cli "$@"; }}'
    modules = os.pathsep.join(map(str, (ROOT, ROOT / "gen", ROOT / "client")))
    return f'export PATH="{TOOLS}" MESH_DATA="{folder}" PYTHONPATH="{modules}"\ncd "{ROOT}"\n{python}\n{script}'


async def test_the_first_steps_lead_to_a_total_that_counts_a_repeat_once(folder: Path) -> None:
    out = await shell(here("\n".join(blocks("sh")[:2]) + total_is(250), folder))
    first, again = re.findall(r'"donation_id":"([0-9a-f-]{36})"', out)
    assert first == again


def total_is(gross: int) -> str:
    """Asks again until the total has arrived: it follows the gift by a moment."""
    return f"""
until curl -sS "http://127.0.0.1:8080/v1/campaigns/$CAMPAIGN/totals" | grep -q '"gross":"{gross}"'; do :; done
"""


@pytest.mark.requirement("INT-2", "INT-10", "PAY-5")
async def test_the_payment_examples_end_in_one_paid_donation_after_a_decline(folder: Path) -> None:
    out = await shell(here("\n".join((blocks("sh")[0], blocks("sh")[2])), folder))
    declined, paid, *states = [line for line in out.splitlines() if line and not line.startswith("{")]
    assert (declined, paid, states[-1]) == ("insufficient_funds", "succeeded", "STATE_SUCCEEDED")
    assert "STATE_PARTIALLY_REFUNDED" in out


@pytest.mark.requirement("OPS-3")
@pytest.mark.skipif(not shutil.which("grpcurl", path=TOOLS), reason="needs grpcurl: run `make tools` where Go is")
async def test_the_grpcurl_and_buf_examples_work_as_printed(folder: Path) -> None:
    out = await shell(here("\n".join((*blocks("sh")[:2], blocks("sh")[3])), folder))
    assert '"status": "SERVING"' in out
    assert "rpc VerifyLedger" in out
    assert '"balances"' in out
    assert '"why": "A checkout charged it, and it counts for 1.00 USD; ' in out


async def test_the_python_example_works_as_printed(folder: Path) -> None:
    program = blocks("python")[0]
    script = "\n".join(blocks("sh")[:2]) + f'\n"{sys.executable}" - <<END\n'
    out = await shell(here(f"{script}campaign_id = '$CAMPAIGN'\n{program}END\n", folder))
    assert re.search(r"[0-9a-f-]{36} False \d+\n[0-9a-f-]{36} pi_\w+_secret_\w+\n", out)


async def test_the_demonstration_agrees(folder: Path) -> None:
    out = await shell(here(blocks("sh")[4], folder))
    assert "all books agree" in out
    assert out.count("\n✓ P") == len(INVARIANTS)


def test_the_ports_of_the_readme_are_the_defaults() -> None:
    settings = MeshSettings()
    assert {name: getattr(settings, f"{name}_port") for name in DEFAULTS} == DEFAULTS
