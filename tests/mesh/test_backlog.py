"""What waits is known: counted in the database, aged, told by health and by alerts, and intake goes on."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from giving.common.v1.event_pb2 import Event
from grpc_health.v1 import health_pb2
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh import metrics
from mesh.clock import ManualClock
from mesh.events.backlog import EVENTS_MAX, Backlog, BehindError, keeping_up
from mesh.events.consumer import Consumer
from mesh.events.stream import make_stream
from mesh.rpc.health import HealthBoard, Probe
from tests.support.log import QUERIES, Log, fact, open_log, running
from tests.support.waiting import until

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yml"


def backlog(log: Log, **more: Any) -> Backlog:
    return Backlog(log.database, QUERIES, service=log.service, **more)


def measured(log: Log, name: str) -> float:
    value = REGISTRY.get_sample_value(name, {"service": log.service})
    assert value is not None
    return value


@pytest.mark.requirement("EVT-9")
async def test_the_backlog_and_its_age_grow_while_the_broker_is_away(postgres_server: Postgres, tmp_path: Path) -> None:
    async with nats(tmp_path) as broker, open_log(postgres_server.dsn, broker.url) as log:
        relay, watch = log.relay(page=3), backlog(log, now=lambda: time.time() + 100)
        async with running(relay.run()):
            await log.write(fact())
            await until(lambda: waiting(log, watch), holds=lambda count: count == 0)
            assert measured(log, "relay_oldest_age_seconds") == 0
            await broker.kill()
            for number in range(1, 8):
                await log.write(fact())
                assert await waiting(log, watch) == number
            assert measured(log, "relay_oldest_age_seconds") >= 100
            await broker.start()
            await until(lambda: waiting(log, watch), holds=lambda count: count == 0)


async def waiting(log: Log, watch: Backlog) -> float:
    await watch.measure()
    return measured(log, "relay_pending")


@pytest.mark.requirement("EVT-9", "EVT-3")
async def test_the_backlog_is_exact_in_the_middle_of_a_drain_and_beside_open_transactions(log: Log) -> None:
    relay, watch = log.relay(page=2), backlog(log)
    position = await log.begin(relay)
    async with log.database.transaction() as early:
        late = await log.write(fact(), connection=early)
        for _ in range(5):
            await log.write(fact())
        assert await waiting(log, watch) == 5
        publish, pages = relay._publish, 0

        async def publish_two_pages(rows: Any, **more: Any) -> None:
            nonlocal pages
            pages += 1
            if pages > 2:
                raise ConnectionError
            await publish(rows, **more)

        relay._publish = publish_two_pages  # type: ignore[method-assign] # the crash
        with pytest.raises(ConnectionError):
            await relay.drain(position)
        assert await waiting(log, watch) == 1
    assert await waiting(log, watch) == 1 + len(late)


@pytest.mark.requirement("EVT-9")
async def test_health_says_that_too_much_waits_and_intake_goes_on(log: Log) -> None:
    watch = backlog(log, events_max=3)
    board = HealthBoard(services=["giving"], probes={"backlog": Probe(watch.within_bounds, required=False)})
    for expected in ("SERVING", "SERVING", "NOT_SERVING"):
        await log.write(fact())
        await watch.measure()
        await board.look()
        assert await status(board, "dependency.backlog") == expected
        assert await status(board, "giving") == await status(board, "") == "SERVING"


async def status(board: HealthBoard, name: str) -> str:
    answer = await board.servicer.Check(health_pb2.HealthCheckRequest(service=name), None)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


class Deaf:
    """Applies nothing and complains about nothing."""

    async def apply(self, events: Sequence[Event]) -> None: ...


@pytest.mark.requirement("EVT-9")
async def test_a_consumers_lag_grows_while_the_broker_is_away_and_ends_when_it_has_caught_up(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    async with nats(tmp_path) as broker, open_log(postgres_server.dsn, broker.url) as log:
        clock = ManualClock()
        await make_stream(log.client.jetstream(), service=log.service, replicas=1)
        consumer = Consumer(
            log.client, log.database, Deaf(), queries=QUERIES, service=log.service, durable="lagging", clock=clock
        )
        clock.advance(datetime.timedelta(seconds=50))
        async with running(consumer.run()):
            await until(lag, holds=lambda lag_s: lag_s == 0)
            await keeping_up(consumer)
            await broker.kill()
            clock.advance(datetime.timedelta(seconds=61))
            assert await lag() == 61
            with pytest.raises(BehindError):
                await keeping_up(consumer)
            await broker.start()
            await until(lag, holds=lambda lag_s: lag_s == 0)
        await keeping_up(consumer)


async def lag() -> float:
    return REGISTRY.get_sample_value("consumer_lag_seconds", {"consumer": "lagging"}) or 0.0


def names(metric: MetricWrapperBase) -> set[str]:
    """As Prometheus sees them: a counter ends in `_total`."""
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in metric.collect()}


@pytest.mark.requirement("EVT-9")
def test_every_metric_that_an_alert_names_exists_and_ten_thousand_waiting_events_call_somebody() -> None:
    expressions = re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)
    named = {name for expression in expressions for name in re.findall(r"[a-z]+(?:_[a-z]+)+", expression)}
    families = {name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase) for name in names(metric)}
    assert named - families == set()
    assert f"max by (service) (relay_pending) >= {EVENTS_MAX}" in expressions
