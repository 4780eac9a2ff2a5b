from __future__ import annotations

from typing import Any

import pytest

from orchestration.cli.profile_view import _condition
from orchestration.specs.reasons import Reason


@pytest.mark.parametrize(
    ("found", "said"), [(0, "0"), (1, "1"), (7, "7"), (True, "yes"), (False, "no"), (None, "none")]
)
def test_a_count_of_one_is_no_yes(found: Any, said: str) -> None:
    reason = Reason("activity", True, "did cart at least 1 times", found=found)
    assert _condition(reason, "CNY") == f"did cart at least 1 times: {said}"
