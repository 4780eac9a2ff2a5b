"""An identifier that very many people use: nobody is merged by it, in time and memory that grow with its links alone."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.laws.identity_support import Rules, Warehouse

FIRST, LATER = dt.date(2026, 1, 5), dt.date(2026, 1, 6)
RULES = Rules({"device_id": (False, 2, 5, True), "openid": (False, 2, 5, True), "*": (False, 5, 20, True)})
MEMORY = "700MB"


@pytest.mark.parametrize("links", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_till_that_everybody_uses_joins_nobody(links: int) -> None:
    """Four guests are one user with the till on its first day; on the next one everybody else comes."""
    warehouse = Warehouse.of((), RULES, FIRST)
    run = warehouse.connection.execute
    run(f"set memory_limit = '{MEMORY}'")
    for prefix in ("arrived", "raw"):
        run(
            f"insert into {prefix}_identity_links by name "
            "select 'device_id' as id_type_a, 'till' as id_a, 'openid' as id_type_b, 'guest' || n as id_b, "
            "timestamp '2026-01-05 01:00:00' as linked_at, 'f' || (n >= 4)::int as _file_id, n as _record, "
            f"case when n < 4 then date '{FIRST}' else date '{LATER}' end as _arrived_on, "
            "timestamp '2026-01-05 02:00:00' as _taken_in_at, '{}' as properties "
            f"from range({links}) as numbers (n)"
        )
    warehouse.build(LATER)
    users = "select count(*), max(identifier_count) from int_identity__users"
    assert warehouse.rows(users) == [(links + 1, 1)]
    assert warehouse.rows("select refused_because, count(*) from int_identity__refused_links group by 1") == [
        ("above_limit", links)
    ]
    assert warehouse.rows("select count(*) from int_identity__components") == [(0,)]
    # The four of the first day are users of their own again, because of the limit.
    assert warehouse.rows(
        "select kind, cause, changed_on, count(*) from int_identity__renames group by all"
    ) == [("split", "limit_passed", LATER, 4)]
