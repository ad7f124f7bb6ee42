"""The faults of a run, drawn from its seed before it begins."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos import edges
from chaos.proxy import Mode

_PER_S = 0.8
# A process is back two or three seconds after it was killed: longer faults would leave no load to be disturbed.
_SECONDS = (0.3, 2.5)
# Faults begin when the load is there, and have ended when it stops.
_FIRST_AT_S = 2.5
_LAST_BEFORE_END_S = 2.0
# What is drawn how often: which part, and what happens to it.
_GROUPS = {"services": 4, "nats": 3, "postgres": 2, "valkey": 2, "edges": 4, "webhooks": 2, "provider": 2}
_SERVICES = ("donation", "payment", "aggregator", "gateway", "live", "sandbox")
_OF_PROCESS = {"kill": 5, "pause": 3}
# The power goes: everything at once. Coming back takes many seconds, so a run has it once, and a short one not at all.
EVERYTHING = "everything"
_POWER_CUT_SHARE = 0.5
_POWER_CUT_FROM_S = 25.0
# Only what is derived may be lost.
_OF_DERIVED = {**_OF_PROCESS, "wipe": 2, "rewind": 1}
_OF_EDGE = {Mode.CUT: 3, Mode.DROP: 2, Mode.RST: 2, Mode.DELAY: 2, Mode.HALF_IN: 1, Mode.HALF_OUT: 1}
_OF_WEBHOOKS = {"duplicate": 2, "two_events": 1, "reorder": 2, "delay": 2, "before_answer": 1}
_OF_PROVIDER = {"answer_lost": 3, "error_500_after": 1, "error_500": 1, "error_429": 1, "refuse_connection": 1, "slow": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`at_s` after the load began, for `seconds`; `amount`: what the fault counts in."""

    at_s: float
    target: str
    kind: str
    seconds: float
    amount: int = 0

    @property
    def loses(self) -> bool:
        """Whether something derived is lost, so that a repair is due."""
        return self.target == "nats" and self.kind in ("wipe", "rewind")


def draw(seed: str, *, seconds: float, losses: bool) -> list[Fault]:
    """Nearly one fault a second. `losses`: whether NATS and Valkey lose what they hold, once at the least."""
    source = random.Random(f"{seed}:schedule")  # noqa: S311 - to be repeated
    last_at_s = max(seconds - _LAST_BEFORE_END_S, _FIRST_AT_S)
    faults, at_s = [], _FIRST_AT_S
    while at_s < last_at_s:
        faults.append(_fault(source, round(at_s, 2), room_s=seconds - at_s, losses=losses))
        at_s += source.expovariate(_PER_S)
    if seconds >= _POWER_CUT_FROM_S and source.random() < _POWER_CUT_SHARE:
        at_s = round(source.uniform(0.3, 0.5) * seconds, 2)
        faults.append(Fault(at_s=at_s, target=EVERYTHING, kind="kill", seconds=0.0))
    if losses:
        # A wipe alone loses nothing while everyone keeps up: it has to meet a backlog.
        at_s = round(source.uniform(0.2, 0.6) * seconds, 2)
        faults.append(Fault(at_s=at_s, target="aggregator", kind="pause", seconds=3.0))
        faults.append(Fault(at_s=round(at_s + 1.5, 2), target="nats", kind="wipe", seconds=0.0))
    return sorted(faults, key=lambda fault: fault.at_s)


def _fault(source: random.Random, at_s: float, *, room_s: float, losses: bool) -> Fault:
    group = _pick(source, _GROUPS)
    seconds = round(min(source.uniform(*_SECONDS), room_s), 2)
    if group == "edges":
        return _of_edge(source, at_s, seconds)
    if group == "webhooks":
        return Fault(at_s=at_s, target=group, kind=_pick(source, _OF_WEBHOOKS), seconds=seconds, amount=source.randint(2, 6))
    if group == "provider":
        return Fault(at_s=at_s, target=group, kind=_pick(source, _OF_PROVIDER), seconds=seconds, amount=source.randint(1, 4))
    kinds = _OF_DERIVED if losses and group in ("nats", "valkey") else _OF_PROCESS
    target = source.choice(_SERVICES) if group == "services" else group
    return Fault(at_s=at_s, target=target, kind=_pick(source, kinds), seconds=seconds)


def _of_edge(source: random.Random, at_s: float, seconds: float) -> Fault:
    edge, mode = source.choice(sorted(edges.ALL)), _pick(source, _OF_EDGE)
    amount = {Mode.CUT: source.randint(1, 4_000), Mode.DELAY: source.randint(20, 500)}.get(Mode(mode), 0)
    return Fault(at_s=at_s, target=edge, kind=mode, seconds=seconds, amount=amount)


def _pick(source: random.Random, weights: dict[str, int] | dict[Mode, int]) -> str:
    return str(source.choices(list(weights), weights=list(weights.values()))[0])


def save(path: Path, faults: Iterable[Fault]) -> None:
    path.write_text(json.dumps([dataclasses.asdict(fault) for fault in faults], indent=1) + "\n")


def load(path: Path) -> Sequence[Fault]:
    return [Fault(**entry) for entry in json.loads(path.read_text())]
