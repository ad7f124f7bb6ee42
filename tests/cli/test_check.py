"""`mesh check`: after mixed traffic every invariant holds; where books are corrupted exactly the right one fails."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp.test_utils
import asyncpg
import pytest
from aiohttp import web
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from redis.asyncio import Redis
from rich.console import Console

import aggregator_svc.consumer
import donation_svc.consumer
import payment_svc.consumer
from cli import checklist
from cli.check import Line, Verdict, chosen, exit_code, find
from cli.config import CheckSettings, MeshSettings
from cli.folder import DataFolder
from cli.invariants.catalogue import INVARIANTS
from cli.invariants.quiet import CONSUMERS
from cli.invariants.trail import AUDITED
from cli.invariants.view import open_view
from cli.places import Places
from cli.refusal import CommandRefused
from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from cli.stripe import Stripe
from tests.cli.mesh_terminal import mesh as command
from tests.support import corruptions
from tests.support.checking import (
    Forgery,
    at_once,
    checked,
    forging,
    mixed_traffic,
    places_of,
    places_of_mesh,
    stripe_of,
    superuser,
    violated,
)
from tests.support.corruptions import CORRUPTIONS, PAID, PROMISE, Corruption
from tests.support.folders import reachable_folder
from tests.support.mesh import free_ports, running_mesh
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.schemas import Schemas, make_database

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = [pytest.mark.requirement("RES-2")]


@dataclass(frozen=True)
class Books:
    """What a mesh left behind that has stopped; its broker, its Redis and its sandbox still run."""

    schemas: Schemas
    lines: dict[str, Line]
    campaign_id: str
    nats_url: str
    redis_url: str
    sandbox: Sandbox


@pytest.fixture(scope="module")
async def books(
    postgres_server: Postgres, valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Books]:
    schemas = await make_database(postgres_server.dsn)
    # A broker of its own: streams have the same names everywhere.
    with reachable_folder() as folder:
        async with nats(folder) as broker, running_sandbox(tmp_path_factory.mktemp("stripe_of_the_check")) as sandbox:
            async with running_mesh(schemas, nats_url=broker.url, redis_url=valkey_server.url, sandbox=sandbox) as mesh:
                cause = await mixed_traffic(mesh)
                lines = await checked(places_of_mesh(mesh), wait_s=20)
            yield Books(schemas, lines, cause.campaign_id, broker.url, valkey_server.url, sandbox)


@pytest.fixture(scope="module")
async def admin(books: Books) -> AsyncIterator[asyncpg.Connection]:
    async with superuser(books.schemas) as connection:
        yield connection


@pytest.fixture
async def forgery(admin: asyncpg.Connection) -> AsyncIterator[Forgery]:
    async with forging(admin) as made:
        yield made


def test_after_mixed_traffic_every_invariant_holds_and_none_was_left_out(books: Books):
    assert {number: line for number, line in books.lines.items() if line.verdict is not Verdict.HOLDS} == {}
    assert books.lines.keys() == {invariant.number for invariant in INVARIANTS}


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
async def test_what_was_corrupted_fails_with_its_key_and_nothing_else_does(forgery: Forgery, corruption: Corruption):
    key = await corruption.act(forgery)
    found = violated(await forgery.checked())
    assert found.keys() == corruption.numbers
    assert all(any(str(key) in named for named in keys) for keys in found.values()), found


async def test_what_begins_on_one_page_is_seen_on_the_next(forgery: Forgery, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cli.invariants.view.PAGE", 2)
    assert violated(await forgery.checked()) == {}
    acts = (
        corruptions.a_donation_is_altered,
        corruptions.a_charge_is_of_two_payments,
        corruptions.a_webhook_was_taken_and_left_no_trace,
        corruptions.a_batch_posting_is_not_its_events,
        corruptions.what_moved_at_the_provider_was_never_posted,
        corruptions.a_dispute_is_of_two_payments,
    )
    keys = {str(await act(forgery)) for act in acts}
    assert keys <= {key for named in violated(await forgery.checked()).values() for key in named}


# What a check knows besides the databases, in tests of what it says with it.
Known = Callable[[Books], dict[str, Any]]


def with_broker(books: Books) -> dict[str, Any]:
    return {"nats_url": books.nats_url}


async def test_an_event_that_nobody_took_is_lost_once_nothing_is_under_way(books: Books, forgery: Forgery):
    # It only says that a dispute was lost, and adds nothing to any total.
    event = await forgery.find(
        "DELETE FROM aggregator.applied WHERE gross = 0 AND disputed = 0 AND refunded = 0 RETURNING event_id"
    )
    assert violated(await forgery.checked(**with_broker(books))) == {"P17": [str(event)]}


async def test_an_event_that_waits_for_an_operator_is_not_lost(books: Books, forgery: Forgery):
    event = await forgery.find(
        "DELETE FROM aggregator.applied WHERE gross = 0 AND disputed = 0 AND refunded = 0 RETURNING event_id"
    )
    await forgery.admin.execute(
        "INSERT INTO aggregator.dead_letter (consumer, event_id, event, state, reason, attempts) "
        "VALUES ('aggregator-totals', $1, '', 2, 'of a test', 5)",
        event,
    )
    lines = await forgery.checked(**with_broker(books))
    assert violated(lines) == {}
    assert lines["P7"].findings.notes == ["1 of our own events dead at aggregator-totals"]


async def test_a_donation_that_has_not_heard_its_payments_last_word_is_told_once_nothing_is_under_way(
    books: Books, forgery: Forgery
):
    donation_id = await forgery.find(f"SELECT donation_id FROM payment.payment WHERE id = ({PAID})")
    await forgery.do(f"UPDATE donation.donation SET payment_version = payment_version - 1 WHERE id = '{donation_id}'")
    assert violated(await forgery.checked(**with_broker(books))) == {"P17": [str(donation_id)]}


async def test_a_campaign_that_the_totals_have_not_heard_of_is_told_once_nothing_is_under_way(
    books: Books, forgery: Forgery
):
    await forgery.do("UPDATE aggregator.campaign SET campaign_version = 1")
    assert violated(await forgery.checked(**with_broker(books))) == {"P17": [books.campaign_id]}


async def test_what_is_late_is_no_violation_while_nobody_knows_what_is_under_way(forgery: Forgery):
    await forgery.do("UPDATE aggregator.campaign SET campaign_version = 1")
    lines = await forgery.checked()
    assert violated(lines) == {}
    assert lines["P17"].findings.notes == [
        "1 changes are not everywhere yet: NATS_URL is not set, so nobody knows what is under way"
    ]


async def test_books_are_only_compared_when_the_mesh_is_quiet(books: Books, forgery: Forgery):
    await forgery.do("UPDATE donation.relay SET from_snapshot = '3:3:', to_snapshot = '3:3:', last_seq = 0")
    line = (await forgery.checked(**with_broker(books)))["P13"]
    assert (line.verdict, exit_code([line])) == (Verdict.SKIPPED, 0)
    assert "events of donation are not published" in line.reason


async def test_a_mesh_that_does_not_become_quiet_in_the_time_that_it_was_given_could_not_be_checked(
    books: Books, forgery: Forgery
):
    await forgery.do("UPDATE payment.relay SET epoch = 0")
    line = (await forgery.checked(wait_s=0.01, **with_broker(books)))["P13"]
    assert (line.verdict, exit_code([line])) == (Verdict.UNREAD, 2)
    assert "a new epoch" in line.reason


@asynccontextmanager
async def redis_says(books: Books, change: Callable[[CampaignTotals], None]) -> AsyncIterator[dict[str, Any]]:
    """Redis with another value for the campaign; what was there comes back."""
    key = f"giving:totals:{books.campaign_id}"
    async with Redis.from_url(books.redis_url) as redis:
        held = await redis.hget(key, "p")
        totals = CampaignTotals.FromString(held)
        change(totals)
        await redis.hset(key, "p", totals.SerializeToString())
        try:
            yield {"redis_url": books.redis_url}
        finally:
            await redis.hset(key, "p", held)


def one_less(totals: CampaignTotals) -> None:
    totals.currencies[0].gross -= 1


def one_more(totals: CampaignTotals) -> None:
    totals.currencies[0].gross += 1


def newer(totals: CampaignTotals) -> None:
    totals.version += 1


async def test_a_display_that_lags_behind_is_told_when_it_is_quiet(books: Books, forgery: Forgery):
    async with redis_says(books, one_less) as known:
        assert violated(await forgery.checked(**known, **with_broker(books))) == {"P13": [f"{books.campaign_id} EUR"]}


@pytest.mark.parametrize(("change", "key"), [(one_more, "{} EUR"), (newer, "{}")])
async def test_a_display_that_is_ahead_is_told_always(books: Books, forgery: Forgery, change: Any, key: str):
    async with redis_says(books, change) as known:
        assert violated(await forgery.checked(**known)) == {"P14": [key.format(books.campaign_id)]}


async def test_an_empty_redis_is_not_zero(books: Books, forgery: Forgery):
    async with Redis.from_url(books.redis_url) as redis:
        held = await redis.hgetall(f"giving:totals:{books.campaign_id}")
        await redis.delete(f"giving:totals:{books.campaign_id}")
        lines = await forgery.checked(redis_url=books.redis_url, **with_broker(books))
        await redis.hset(f"giving:totals:{books.campaign_id}", mapping=held)
    assert violated(lines) == {}
    assert lines["P13"].verdict is Verdict.HOLDS


@asynccontextmanager
async def stripe_says(books: Books, change: Callable[[list[Any]], object]) -> AsyncIterator[tuple[Stripe, object]]:
    """A sandbox whose book says otherwise, and the key that has to be named."""
    book = await books.sandbox.ask("GET", "book")
    key = change(book["payment_intents"])

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(book)

    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"available": [], "pending": []})

    app = web.Application()
    app.router.add_get("/sandbox/book", answer)
    app.router.add_get("/v1/balance", empty)
    async with aiohttp.test_utils.TestServer(app) as server:
        yield (
            Stripe(api_key="", publishable_key="", webhook_secrets="", sandbox_url=str(server.make_url("")).rstrip("/")),
            key,
        )


def paid(intents: list[Any]) -> Any:
    return next(intent for intent in intents if intent["captured"] and not intent["refunds"] and not intent["disputes"])


def a_second_charge(intents: list[Any]) -> object:
    intent = paid(intents)
    intent["successful_charges"] = 2
    return intent["id"]


def a_second_intent(intents: list[Any]) -> object:
    intent = copy.deepcopy(paid(intents))
    intent["id"] = "pi_again"
    intents.append(intent)
    return intent["metadata"]["donation_id"]


def an_intent_of_nobody(intents: list[Any]) -> object:
    intent = copy.deepcopy(paid(intents))
    intent |= {"id": "pi_of_nobody", "metadata": {"donation_id": str(UUID(int=1))}}
    intents.append(intent)
    return UUID(int=1)


def less_than_we_say(intents: list[Any]) -> object:
    paid(intents)["captured"] -= 1
    return ""


def no_such_intent(intents: list[Any]) -> object:
    intents.remove(paid(intents))
    return ""


def another_refund(intents: list[Any]) -> object:
    refund = next(intent for intent in intents if intent["refunds"])["refunds"][0]
    refund["amount"] += 1
    return refund["id"]


def more_than_we_know(intents: list[Any]) -> object:
    paid(intents)["captured"] += 1
    return ""


@pytest.mark.parametrize(
    ("number", "change"),
    [
        ("P5", a_second_charge),
        ("P5", a_second_intent),
        ("P5", less_than_we_say),
        ("P3", an_intent_of_nobody),
        ("P3", no_such_intent),
        ("P11", another_refund),
        ("P13", more_than_we_know),
    ],
)
async def test_what_stripe_says_otherwise_is_told(
    books: Books, forgery: Forgery, number: str, change: Callable[[list[Any]], object]
):
    async with stripe_says(books, change) as (stripe, key):
        found = violated(await forgery.checked(sandbox=stripe, **with_broker(books)))
    assert found.keys() == {number}
    assert any(str(key) in named for named in found[number])


async def test_without_a_sandbox_the_lines_say_that_stripe_was_not_compared(forgery: Forgery):
    lines = await forgery.checked()
    assert all("Stripe's side is not compared" in lines[number].findings.notes[-1] for number in ("P3", "P5", "P9", "P11"))


async def test_a_check_writes_nothing_and_cannot(books: Books, admin: asyncpg.Connection):
    async def written() -> tuple[Any, ...]:
        await admin.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT tup_inserted, tup_updated, tup_deleted FROM pg_stat_database WHERE datname = current_database()"
        return tuple(await admin.fetchrow(query))

    before = await written()
    lines = await checked(places_of(books.schemas, nats_url=books.nats_url, sandbox=stripe_of(books.sandbox)))
    assert {line.verdict for line in lines.values()} == {Verdict.HOLDS}
    assert await written() == before
    # Also with the right to write it would not.
    async with open_view(Places(databases={"payment": books.schemas.admin_dsn})) as view, view.present("payment") as reading:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reading._connection.execute("UPDATE payment SET version = version")


async def test_what_is_not_known_here_is_skipped_and_says_why(books: Books):
    lines = await checked(Places(databases={"donation": books.schemas.dsn("donation", "batch")}), sleep=at_once)
    assert {number for number, line in lines.items() if line.verdict is Verdict.HOLDS} == {"P1", "P2"}
    assert lines["P8"].reason == "PAYMENT_DATABASE_URL is not set"
    assert exit_code(lines.values()) == 0


async def test_what_does_not_answer_could_not_be_checked(books: Books):
    (port,) = free_ports(1)
    databases = {"payment": f"postgresql://payment_batch:x@127.0.0.1:{port}/nowhere"}
    away = Places(databases=databases, nats_url=f"nats://127.0.0.1:{port}")
    lines = await checked(away, only=["P8", "P13", "P17"], sleep=at_once)
    assert [line.verdict for line in lines.values()] == [Verdict.UNREAD, Verdict.UNREAD, Verdict.SKIPPED]
    assert exit_code(lines.values()) == 2


async def test_what_was_found_before_something_did_not_answer_stays_found(forgery: Forgery):
    await forgery.do(f"UPDATE donation.donation SET payment_version = 99 WHERE id = ({PROMISE})")
    (port,) = free_ports(1)
    away = Stripe(api_key="", publishable_key="", webhook_secrets="", sandbox_url=f"http://127.0.0.1:{port}")
    lines = await forgery.checked(sandbox=away)
    console = Console(file=io.StringIO(), width=80)
    assert await checklist.show(console, _each(lines["P9"], lines["P5"])) == 1
    assert "not all was checked: ClientConnectorError" in console.file.getvalue()
    assert (lines["P5"].verdict, exit_code([lines["P5"]])) == (Verdict.UNREAD, 2)


async def test_lines_for_people_name_violations_with_their_keys(books: Books, forgery: Forgery):
    await forgery.do("UPDATE aggregator.totals SET gross = gross - 1")
    lines = await forgery.checked()
    console = Console(file=io.StringIO(), width=80)
    code = await checklist.show(console, _each(lines["P1"], lines["P12"], lines["P13"]))
    shown = console.file.getvalue().splitlines()
    assert code == 1
    assert [line[:6] for line in shown] == ["✓ P1  ", "✗ P12 ", " " * 6, " " * 6, "· P13 "]
    assert "2 violations in 2 totals" in shown[1]
    assert shown[2].strip().startswith(f"{books.campaign_id} EUR: the total is gross 699")
    assert "not checkable here: NATS_URL is not set" in shown[4]


async def test_more_violations_than_anybody_reads_are_counted(forgery: Forgery):
    for service, tables in AUDITED.items():
        await forgery.do(*(f"ALTER TABLE {service}.{table} DISABLE TRIGGER USER" for table in tables))
    line = (await forgery.checked())["P25"]
    console = Console(file=io.StringIO(), width=80)
    await checklist.show(console, _each(line))
    assert (line.findings.violated, len(line.findings.violations)) == (30, 20)
    assert console.file.getvalue().splitlines()[-1].strip() == "and 10 more"


async def test_one_object_for_machines(forgery: Forgery):
    await forgery.do("UPDATE aggregator.totals SET gross = gross - 1 WHERE currency = 'EUR'")
    lines = await forgery.checked()
    text, code = await checklist.document(_each(lines["P8"], lines["P12"]))
    said = json.loads(text)
    assert (code, said["ok"], [entry["verdict"] for entry in said["invariants"]]) == (1, False, ["holds", "violated"])
    entry = said["invariants"][1]
    assert (entry["number"], entry["violated"], entry["checked"]) == ("P12", 1, 2)
    assert entry["violations"][0]["key"].endswith(" EUR")
    assert said["invariants"][0]["ms"] >= 0


async def _each(*lines: Line) -> AsyncIterator[Line]:
    for line in lines:
        yield line


def test_some_are_chosen_by_number_and_strange_ones_are_refused():
    assert chosen("p1, P12") == ["P1", "P12"]
    assert chosen("") == []
    with pytest.raises(CommandRefused, match="P99 cannot be checked"):
        chosen("P1,P99")


def test_the_environment_names_the_books_of_a_mesh_that_runs_elsewhere(tmp_path: Path):
    named = CheckSettings(payment_database_url="postgresql://payment_batch@db/giving", rest_url="https://giving.example")
    places = find(DataFolder(tmp_path), MeshSettings(), named)
    assert (places.databases, places.rest_url) == (
        {"payment": "postgresql://payment_batch@db/giving"},
        "https://giving.example",
    )
    with pytest.raises(CommandRefused, match="nothing runs on"):
        find(DataFolder(tmp_path), MeshSettings(), CheckSettings())


async def test_where_no_mesh_runs_nothing_could_be_checked(tmp_path: Path):
    ended = await command("check", "--data", str(tmp_path / "none"))
    assert ended.code == 2
    assert ended.lines == [f"mesh: nothing runs on {tmp_path / 'none'}: start it with `mesh up`"]


def test_the_checkers_names_are_the_services_own():
    durables = [module.DURABLE for module in (aggregator_svc.consumer, payment_svc.consumer, donation_svc.consumer)]
    assert [name for names in CONSUMERS.values() for name in names] == durables


@pytest.mark.parametrize("service", AUDITED)
def test_the_audited_tables_are_those_of_the_document(service: str):
    (row,) = [line for line in (DOCS / "audit.md").read_text().splitlines() if line.startswith(f"| {service} |")]
    assert row.split("|")[2].replace("`", "").replace(" ", "").split(",") == list(AUDITED[service])


def test_the_document_names_every_invariant_and_says_which_are_checked():
    rows = [line.split("|") for line in (DOCS / "invariants.md").read_text().splitlines() if line.startswith("| P")]
    numbers = [row[1].strip() for row in rows]
    assert numbers == [f"P{number}" for number in range(1, 26)]
    checked_by_document = {row[1].strip(): row[2].strip() for row in rows if not row[4].strip().startswith("not checked")}
    assert checked_by_document == {invariant.number: invariant.name for invariant in INVARIANTS}
