"""Interests that fade, the shift of a tag, its lift and what a question tells equal plain Python for random users."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

DBT = Path(__file__).parents[2] / "dbt_project"
AS_OF = dt.date(2026, 6, 30)
VARIABLES = yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"]
MACROS = (
    *(
        "add_days",
        "as_of",
        "business_date",
        "day_start",
        "days_between",
        "entropy_bits",
        "funnel_microseconds",
    ),
    *("funnel_wilson", "happened", "inline", "integer_divide", "newcombe", "row_hash", "standing_facts"),
    *("steady_time", "touched_rows"),
)
FLOOR, HALF_LIFE = 2.0, 30
STRENGTHS = {"item_paid": 5, "touch_unsubscribed": -3, "view": 1, "survey_answered": 6}


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}", None) or getattr(self.module, f"default__{name}")


def render(model: str) -> str:
    """SQL of a model below models/ as it is built anew, for DuckDB."""
    adapter = _Adapter()
    environment = jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"])
    environment.globals.update(
        adapter=adapter,
        var=VARIABLES.__getitem__,
        ref=lambda name: name,
        config=lambda **_: "",
        is_forward=lambda: False,
        dbt=SimpleNamespace(type_string=lambda: "varchar"),
        **{"return": lambda value: value},
    )
    texts = [(DBT / "macros" / f"{name}.sql").read_text() for name in MACROS]
    adapter.module = environment.from_string("\n".join(texts)).module
    for name in MACROS:
        environment.globals[name] = getattr(adapter.module, name)
    return environment.from_string((DBT / "models" / model).read_text()).render()


@pytest.fixture(scope="module")
def session() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"set TimeZone = 'UTC'; set variable as_of = date '{AS_OF}'; set threads = 2")
    facts = (
        "(actor_key ubigint, activity varchar, occurred_at timestamp, activity_date date, product_id varchar, "
        "content_id varchar, campaign_id varchar, added_on date, removed_on date)"
    )
    connection.execute(
        f"create table int_activity__tracked {facts}; create table int_activity__dealings {facts}"
    )
    connection.execute("""
        create table int_interests__items (item_type varchar, item_id varchar, dimension varchar, value varchar,
            removed_on date);
        insert into int_interests__items values ('product', 'suit', 'style', 'business', null),
            ('product', 'shirt', 'style', 'casual', null), ('product', 'tie', 'style', 'business', null),
            ('content', 'suit', 'style', 'sport', null);
        create table int_activity__owners (actor_key ubigint, owner_key ubigint);
        insert into int_activity__owners select n, hash(user_id)
        from (values (1, 'a'), (2, 'a'), (3, 'b')) as t(n, user_id);
        create table int_identity__users as select * from (values ('a'), ('b')) as t(user_id);
        create table int_identity__lookup as select 'openid' as id_type, user_id as id, user_id from int_identity__users;
        create table catalog_tag_sources as select 'style_interest' as tag, 'interest' as kind, 'style' as dimension,
            null::varchar as question, 30 as half_life_days, 2::decimal(18, 4) as floor, 2 as top, null::integer as validity_days;
        create table interest_questions as select 'style' as question, 'style' as dimension;
        create table stg_raw__surveys (response_id varchar, id_type varchar, id varchar, answered_at timestamp,
            question varchar, answer varchar);
        create table stg_raw__manual_tags (id_type varchar, id varchar, tag varchar, set_at timestamp, value varchar,
            set_by varchar, cleared_at timestamp);
        create table interest_strengths (activity varchar, strength decimal(9, 3));
    """)
    connection.executemany("insert into interest_strengths values (?, ?)", list(STRENGTHS.items()))
    return connection


fact = st.tuples(
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["item_paid", "view", "view", "touch_unsubscribed", "search"]),
    st.sampled_from(["suit", "shirt", "tie", "hat", None]),
    st.sampled_from(["suit", None, None]),
    st.integers(0, 400),
)
answer = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 200), st.sampled_from(["casual", "sport"]))
STYLES = {"suit": "business", "tie": "business", "shirt": "casual"}
SUMS = render("intermediate/interests/int_interests__sums.sql")
OBSERVED = render("intermediate/tags/int_tags__observed.sql")


@settings(max_examples=40)
@given(facts=st.lists(fact, max_size=25), answers=st.lists(answer, max_size=4))
def test_interests_are_the_sum_of_what_faded(
    session: duckdb.DuckDBPyConnection, facts: list[Any], answers: list[Any]
) -> None:
    session.execute("delete from int_activity__tracked; delete from int_activity__dealings")
    session.execute("delete from stg_raw__surveys")
    weights: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], int] = defaultdict(int)

    def add(user: str, value: str, strength: float, age: int) -> None:
        weights[user, value] += strength * 0.5 ** (age / HALF_LIFE)
        counts[user, value] += 1

    for actor, activity, product, content, age in facts:
        table = "dealings" if activity == "item_paid" else "tracked"
        day = AS_OF - dt.timedelta(days=age)
        row = [actor, activity, dt.datetime.combine(day, dt.time(4)), day, product, content, None, day, None]
        session.execute(f"insert into int_activity__{table} values ({', '.join('?' * len(row))})", row)
        for value in (STYLES.get(product or ""), "sport" if content else None):
            if value and activity in STRENGTHS:
                add("b" if actor == 3 else "a", value, STRENGTHS[activity], age)
    for number, (user, age, value) in enumerate(answers):
        moment = dt.datetime.combine(AS_OF - dt.timedelta(days=age), dt.time(4))
        row = [str(number), "openid", user, moment, "style", value]
        session.execute("insert into stg_raw__surveys values (?, ?, ?, ?, ?, ?)", row)
        add(user, value, STRENGTHS["survey_answered"], age)

    session.execute(f"create or replace table int_interests__sums as {SUMS}")
    rows = session.execute(
        f"select user_id, value, place, is_set, weight, share, expires_on, evidence_count from ({OBSERVED})"
    ).fetchall()
    found = {(user, value): rest for user, value, *rest in rows}
    assert len(found) == len(rows)
    # In steps of 2^-30 per fact, read up to 400 days later.
    for key, (_, _, weight, _, _, evidence) in found.items():
        assert weight == pytest.approx(weights[key], abs=1e-6)
        assert evidence == counts[key]
    for user in ("a", "b"):
        mine = sorted((w, v) for (u, v), w in weights.items() if u == user)[::-1]
        near = any(abs(weight - FLOOR) < 1e-6 for weight, _ in mine)
        standing = [weight for weight, _ in mine if weight >= FLOOR]
        shown = [row for (u, _), row in found.items() if u == user]
        assert bool(shown) == bool(mine)
        if near:
            continue
        # Two places at most, and the first one also below the floor: it is known.
        assert len(shown) == max(min(len(standing), 2), min(len(mine), 1))
        for place, is_set, weight, share, expires_on, _ in shown:
            assert weight == pytest.approx(mine[place - 1][0], abs=1e-6)
            assert is_set == (weight >= FLOOR)
            if is_set:
                assert share == pytest.approx(weight / sum(standing), abs=1e-6)
                left = (expires_on - AS_OF).days
                assert weight * 0.5 ** (left / HALF_LIFE) < FLOOR + 1e-6
                assert weight * 0.5 ** ((left - 1) / HALF_LIFE) > FLOOR - 1e-6


def wilson(hits: int, trials: int, sign: int) -> float:
    z, p = 1.959963984540054, hits / trials
    middle = p + z * z / (2 * trials)
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return (middle + sign * spread) / (1 + z * z / trials)


def entropy(hits: int, trials: int) -> float:
    shares = [hits / trials, 1 - hits / trials]
    return -sum(share * math.log2(share) for share in shares if share)


HEALTH = render("marts/tags/tag_health.sql")
groups = st.dictionaries(
    st.sampled_from(["a", "b", "c", None]),
    st.tuples(st.integers(0, 80), st.integers(0, 80), st.floats(0, 1)),
    min_size=1,
)


@settings(max_examples=40)
@given(users=groups)
def test_shift_and_lift_of_a_tag(
    session: duckdb.DuckDBPyConnection, users: dict[str | None, tuple[int, int, float]]
) -> None:
    then_day = AS_OF - dt.timedelta(days=30)
    session.execute("""
        create or replace table catalog_tag_definitions as select 'x' as tag, 'enum' as value_type;
        create or replace table tag_coverage as select 'x' as tag, 1 as users_count, 1 as set_count,
            0 as not_set_count, 0 as not_evaluable_count;
        create or replace table user_tags as select 'u' as user_id, 'x' as tag, 'a' as value, timestamp '2026-06-30' as last_confirmed_at;
        create or replace table user_tag_history (user_id varchar, tag varchar, as_of_date date, change varchar);
        create or replace table catalog_tag_uses (tag varchar, used_by varchar);
        create or replace table int_tags__value_counts (tag varchar, as_of_date date, value varchar,
            users_count bigint, ordered_count bigint, compared_with_date date);
    """)
    hits: dict[bool, list[int]] = {True: [0, 0], False: [0, 0]}
    for value, (then, now, share) in users.items():
        ordered = int(then * share)
        hits[value is not None][0] += ordered
        hits[value is not None][1] += then
        for day, count, bought in ((then_day, then, ordered), (AS_OF, now, 0)):
            if count:
                session.execute(
                    "insert into int_tags__value_counts values ('x', ?, ?, ?, ?, ?)",
                    [day, value, count, bought, then_day],
                )
    found = session.execute(f"select psi, lift, lift_low, lift_high, conversion from ({HEALTH})").fetchone()
    assert found is not None
    psi, lift, low, high, conversion = found

    sum_then, sum_now = (sum(counts[side] for counts in users.values()) for side in (0, 1))
    if sum_then and sum_now:
        expected = 0.0
        for then, now, _ in users.values():
            if then or now:
                p, q = max(now / sum_now, 0.0001), max(then / sum_then, 0.0001)
                expected += (p - q) * math.log(p / q)
        assert psi == pytest.approx(expected, abs=1e-9)
    (k1, n1), (k2, n2) = hits[True], hits[False]
    if n1 and n2:
        difference = k1 / n1 - k2 / n2
        l1, u1, l2, u2 = wilson(k1, n1, -1), wilson(k1, n1, 1), wilson(k2, n2, -1), wilson(k2, n2, 1)
        assert lift == pytest.approx(difference)
        assert low == pytest.approx(difference - math.hypot(k1 / n1 - l1, u2 - k2 / n2))
        assert high == pytest.approx(difference + math.hypot(u1 - k1 / n1, k2 / n2 - l2))
        if min(n1, n2) >= 30 and min(abs(low), abs(high)) > 1e-9:
            assert conversion == ("more" if low > 0 else "less" if high < 0 else "no_difference")
    if min(n1, n2) < 30:
        assert conversion == "too_few"


def test_a_number_shifts_by_tenths(session: duckdb.DuckDBPyConnection) -> None:
    """100 users with 1 … 100; a month later everybody has 30 more: three tenths are empty, the last holds four."""
    then_day = AS_OF - dt.timedelta(days=30)
    session.execute(f"""
        create or replace table catalog_tag_definitions as select 'x' as tag, 'number' as value_type;
        create or replace table tag_coverage as select 'x' as tag, 1 as users_count, 1 as set_count,
            0 as not_set_count, 0 as not_evaluable_count;
        create or replace table user_tags as select 'u' as user_id, 'x' as tag, 'a' as value, timestamp '2026-06-30' as last_confirmed_at;
        create or replace table user_tag_history (user_id varchar, tag varchar, as_of_date date, change varchar);
        create or replace table catalog_tag_uses (tag varchar, used_by varchar);
        create or replace table int_tags__value_counts as
        select 'x' as tag, day as as_of_date, cast(n + shift as varchar) as value, 1 as users_count, 0 as ordered_count,
            date '{then_day}' as compared_with_date
        from range(1, 101) as t(n), (values (date '{then_day}', 0), (date '{AS_OF}', 30)) as d(day, shift)
    """)
    row = session.execute(f"select psi from ({HEALTH})").fetchone()
    empty = 3 * (0.0001 - 0.1) * math.log(0.0001 / 0.1)
    assert row is not None
    assert row[0] == pytest.approx(empty + (0.4 - 0.1) * math.log(4), abs=1e-9)


GAINS = render("marts/tags/question_gains.sql")


@settings(max_examples=40)
@given(
    people=st.lists(
        st.tuples(st.sampled_from(["dry", "oily", None]), st.booleans(), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_a_question_tells_what_its_answers_tell(
    session: duckdb.DuckDBPyConnection, people: list[tuple[str | None, bool, bool]]
) -> None:
    session.execute("""
        create or replace table int_tags__askable (user_id varchar, tag varchar, value varchar, is_known boolean);
        create or replace table user_wide (user_id varchar, orders_count_90d bigint);
        create or replace table catalog_tag_definitions as select 'skin' as tag, 'q' as ask_zh, 'q' as ask_en, 'active' as status;
    """)
    known: dict[str | None, list[bool]] = defaultdict(list)
    for number, (value, is_known, buys) in enumerate(people):
        user = f"u{number}"
        session.execute(
            "insert into int_tags__askable values (?, 'skin', ?, ?)",
            [user, value if is_known else None, is_known],
        )
        session.execute("insert into user_wide values (?, ?)", [user, int(buys)])
        if is_known:
            known[value].append(buys)
    found = session.execute(
        f"select known_count, unknown_count, entropy, information_gain, expected_gain from ({GAINS})"
    ).fetchone()
    assert found is not None
    count = sum(map(len, known.values()))
    assert found[:2] == (count, len(people) - count)
    if not count:
        assert found[2:] == (None, None, 0.0)
        return
    all_answers = [buys for answers in known.values() for buys in answers]
    total = entropy(sum(all_answers), count)
    left = sum(len(answers) / count * entropy(sum(answers), len(answers)) for answers in known.values())
    bias = (len(known) - 1) / (2 * count * math.log(2))
    assert found[2] == pytest.approx(total, abs=1e-9)
    assert found[3] == pytest.approx(total - left, abs=1e-8)
    assert found[4] == pytest.approx(max(total - left - bias, 0), abs=1e-8)
