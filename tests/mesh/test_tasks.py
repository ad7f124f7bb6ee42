"""Tasks that outlive their caller, and a clock that is told the time."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from mesh.clock import ManualClock, SystemClock
from mesh.tasks import TaskSet, cancel


@pytest.mark.requirement("IDM-6")
async def test_shielded_work_ends_although_its_caller_was_cancelled() -> None:
    tasks, entered, gate, ended = TaskSet(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        entered.set()
        await gate.wait()
        ended.set()

    caller = asyncio.create_task(tasks.shielded(work()))
    await entered.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    joining = asyncio.create_task(tasks.join(timeout_s=60))
    gate.set()
    await joining
    assert ended.is_set()


async def test_shielded_work_gives_its_result_and_its_error_to_its_caller() -> None:
    async def fail() -> None:
        raise LookupError

    tasks = TaskSet()
    assert await tasks.shielded(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(LookupError):
        await tasks.shielded(fail())


async def test_an_error_that_nobody_waits_for_is_not_lost_and_warns_nobody() -> None:
    """A warning that an exception was never retrieved would fail this test."""
    tasks, gate = TaskSet(), asyncio.Event()

    async def fail_later() -> None:
        await gate.wait()
        raise LookupError

    caller = asyncio.create_task(tasks.shielded(fail_later()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    gate.set()
    await tasks.join(timeout_s=60)


async def test_joining_nothing_returns_at_once() -> None:
    await TaskSet().join(timeout_s=60)


async def test_joining_waits_for_nobody_for_ever() -> None:
    tasks = TaskSet()
    stuck = tasks.start(asyncio.Event().wait())
    await tasks.join(timeout_s=0)
    assert not stuck.done()
    await cancel(stuck)


@pytest.mark.requirement("OPS-6")
async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """`asyncio.wait_for` of this Python can swallow one; the stop of a service must not hang on that."""
    lost = False

    async def loop() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost = True

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await cancel(task)
    assert lost
    assert task.cancelled()


async def test_a_task_that_had_failed_is_gone_and_does_not_raise() -> None:
    async def fail() -> None:
        raise LookupError

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    await cancel(task)


def test_a_manual_clock_moves_when_it_is_told_to() -> None:
    clock = ManualClock(datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC))
    clock.advance(datetime.timedelta(days=400))
    assert clock.now() == datetime.datetime(2027, 3, 7, tzinfo=datetime.UTC)
    clock.advance(datetime.timedelta(days=-400))
    assert clock.now() == datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


def test_clocks_tell_utc() -> None:
    for clock in (SystemClock(), ManualClock()):
        assert clock.now().tzinfo is datetime.UTC
