"""What two audiences share: counted with bit strings, by joining the members with themselves, and with sets in Python."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.audience_support import pair_counts_sql

# Keys around the bounds of the blocks of 32 768, near and far.
KEYS = st.one_of(
    st.integers(1, 40), st.sampled_from([32_767, 32_768, 32_769, 65_535, 65_536]), st.integers(1, 3_000_000)
)
AUDIENCES = st.dictionaries(st.sampled_from("abcdefg"), st.sets(KEYS, max_size=30), max_size=7)


_SESSION = duckdb.connect()


def _shared(form: str, audiences: Mapping[str, set[int]]) -> dict[tuple[str, str], int]:
    rows = [{"a": audience, "k": key} for audience, keys in audiences.items() for key in keys]
    _SESSION.execute(
        "create or replace temp table members as select row.a as audience, 'u' || row.k as user_id "
        "from (select unnest(cast(? as struct(a varchar, k bigint)[])) as row)",
        [rows],
    )
    _SESSION.execute(
        "create or replace temp table users as "
        "select distinct user_id, cast(substr(user_id, 2) as bigint) as user_key from members"
    )
    sql = pair_counts_sql("duckdb" if form == "bits" else "default", "members", "users")
    return {(one, other): count for one, other, count in _SESSION.execute(sql).fetchall()}


@settings(max_examples=60, deadline=None)
@given(AUDIENCES)
def test_bits_count_what_sets_share(audiences: dict[str, set[int]]) -> None:
    expected = {
        (one, other): len(audiences[one] & audiences[other])
        for one, other in combinations(sorted(audiences), 2)
        if audiences[one] & audiences[other]
    }
    assert _shared("bits", audiences) == expected
    assert _shared("join", audiences) == expected


@pytest.mark.parametrize("form", ["bits", "join"])
def test_nobody_shares_nothing(form: str) -> None:
    assert _shared(form, {}) == {}
    assert _shared(form, {"a": {1, 2}, "b": {3}}) == {}
