"""What a refused settlement file is told."""

from __future__ import annotations

import pytest

from cli.reconcile import PROBLEMS
from payment_svc.domain.settlement_files import Problem
from payment_svc.provider.report import REQUIRED


@pytest.mark.requirement("REC-2")
def test_every_problem_of_a_file_has_words_and_missing_columns_are_named() -> None:
    assert PROBLEMS.keys() == {problem.value for problem in Problem}
    assert all(column in PROBLEMS["columns_missing"] for column in REQUIRED)
