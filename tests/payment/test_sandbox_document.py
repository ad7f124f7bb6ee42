"""The example of docs/sandbox.md, run as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from giving.payment.v1.payment_pb2 import Payment

from tests.support.till import Till, confirm, order

DOCUMENT = Path(__file__).parents[2] / "docs" / "sandbox.md"


@pytest.mark.requirement("PAY-3")
async def test_the_documents_example_is_a_test_that_passes(till: Till) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"Till": Till, "Payment": Payment, "confirm": confirm, "order": order}
    exec(program, names)
    await names["test_a_lost_answer_is_no_second_payment"](till)
