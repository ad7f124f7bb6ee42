"""A short run of a fixed seed: the mesh is killed, paused and cut off under load, and every book holds afterwards."""

from __future__ import annotations

import json
import os
import tempfile

import pytest

from tests.cli.mesh_terminal import python

# A provider that loses answers, a database and services that die, an edge that is held, webhooks twice, armed points.
SEED, SECONDS = "84", "12"


@pytest.mark.requirement("RES-1", "RES-2")
async def test_a_run_is_disturbed_recovers_and_every_invariant_holds():
    settings = {"TMPDIR": os.environ.get("TMPDIR", tempfile.gettempdir())}
    ended = await python("-m", "chaos", "--seed", SEED, "--seconds", SECONDS, "--no-losses", settings=settings)
    assert ended.out, ended.err
    verdict = json.loads(ended.out)
    assert (verdict["violations"], ended.code) == ([], 0), ended.err
    assert verdict["acked"] > 0
    assert verdict["samples"] > 0
    assert verdict["faults"] > 0
    assert verdict["recover_s"] is not None
    assert verdict["repairs"] == 0
    assert verdict["coverage"]["passed"] > verdict["coverage"]["of"] // 2
