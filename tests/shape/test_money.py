"""No float anywhere near money."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Modules through which amounts pass. Those that keep time (settings, servers, watchers) may hold seconds as floats.
MONEY = [
    path
    for pattern in (
        "*_svc/domain.py",
        "donation_svc/domain/*.py",
        "*_svc/ledger.py",
        "*_svc/convert.py",
        "*_svc/consumer.py",
        "*_svc/store*",
        "mesh/money.py",
    )
    for found in ROOT.glob(pattern)
    for path in ([found] if found.is_file() else found.rglob("*.py"))
] + [*ROOT.glob("donation_svc/service/*.py")]


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize("path", MONEY, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_hold_amounts_know_no_float_and_no_division(path: Path) -> None:
    wrong = [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id in {"float", "Decimal"})
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
    ]
    assert wrong == []
