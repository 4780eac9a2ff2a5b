"""Scores, layers and clusters equal plain Python, and keep the laws that their descriptions name."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PROJECT = Path(__file__).parents[2]
DBT = PROJECT / "dbt_project"
MACROS = (
    "add_days",
    "as_of",
    "cluster_features",
    "computed_once",
    "days_between",
    "integer_divide",
    "share_ladder",
)
TODAY = dt.date(2026, 6, 30)
SETTINGS = {
    "layers_value_tops": (1, 5, 20),
    "layers_revenue_shares": (80, 95),
    "layers_engagement_shares": (50, 80),
    "clusters_sample_users": 12,
}
COUNTS = ("lives", "shares", "votes", "comments", "likes", "searches")
FEATURES = ("activity", "browsing", "content", "orders", "basket", "discount", "breadth")

_CONNECTION = duckdb.connect()
_CONNECTION.execute(
    f"""
    set threads = 1;
    set variable as_of = date '{TODAY}';
    create table int_identity__users (user_id varchar);
    create table int_users__spending (
        user_id varchar, net_amount_365d decimal(38, 4), orders_count_365d bigint, last_order_date date,
        average_order_amount double, discount_share double, categories_count bigint
    );
    create table int_users__behaviour (
        user_id varchar, active_days_90d bigint, reads_count_30d bigint, views_count_90d bigint,
        {", ".join(f"{name}_count_90d bigint" for name in COUNTS)}
    );
    create table int_users__response (
        user_id varchar, touches_clicked_count_90d bigint, touches_replied_count_90d bigint
    );
    create table int_users__relation (user_id varchar, is_contact boolean, group_count bigint);
    create table int_users__profile (user_id varchar, is_member boolean, member_level varchar);
    create table int_users__referrals (user_id varchar, invited_joined_count bigint);
    create table score_parts as from read_csv('{PROJECT / "seeds/rules/score_parts.csv"}');
    create table cluster_archetypes as from read_csv('{PROJECT / "seeds/rules/cluster_archetypes.csv"}');
    """
)


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    _CONNECTION.close()


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}")


def render(model: str) -> str:
    """SQL of a model of the segments, for DuckDB."""
    adapter = _Adapter()
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=SETTINGS.__getitem__,
        ref=lambda name: name,
        dbt=type("Types", (), {"type_string": staticmethod(lambda: "varchar")}),
        **{"return": lambda value: value},
    )
    text = "".join((DBT / "macros" / f"{name}.sql").read_text() for name in MACROS)
    # A list cannot come out of a rendered macro; dbt's `return` hands it over.
    environment.globals["cluster_features"] = lambda: list(FEATURES)
    adapter.module = environment.from_string(text).module
    names = {*MACROS, "nearest_centre"} - {"cluster_features"}
    environment.globals.update({name: getattr(adapter.module, name) for name in names})
    (file,) = (DBT / "models").rglob(f"{model}.sql")
    return environment.from_string(file.read_text()).render()


SQL = {model: render(model) for model in ("user_scores", "user_layers", "int_users__levels", "user_clusters")}
User = dict[str, Any]


@st.composite
def users(draw: st.DrawFn) -> User:
    few = st.sampled_from([0, 0, 0, 1, 2, 3, 9])
    orders = draw(few)
    money = st.one_of(
        st.sampled_from([Decimal(100), Decimal(20)]),
        st.decimals(-50, 900, places=4, allow_nan=False, allow_infinity=False),
    )
    return {
        "net_amount_365d": draw(money) if orders else Decimal(0),
        "orders_count_365d": orders,
        "last_order_date": TODAY - dt.timedelta(days=draw(st.integers(0, 9))) if orders else None,
        "average_order_amount": float(draw(st.integers(1, 500))) if orders else None,
        "discount_share": draw(st.sampled_from([0.0, 0.1, 0.25, 0.5])) if orders else None,
        "categories_count": draw(few),
        "active_days_90d": draw(few),
        "reads_count_30d": draw(few),
        "views_count_90d": draw(few),
        **{f"{name}_count_90d": draw(few) for name in COUNTS},
        "touches_clicked_count_90d": draw(few),
        "touches_replied_count_90d": draw(few),
        "is_contact": draw(st.booleans()),
        "group_count": draw(few),
        "is_member": draw(st.booleans()),
        "invited_joined_count": draw(few),
    }


def fill(people: list[User]) -> None:
    run = _CONNECTION.execute
    names = [row[0] for row in run("select table_name from duckdb_tables()").fetchall()]
    for table in (name for name in names if name.startswith("int_") and name != "int_users__levels"):
        run(f"delete from {table}")
        columns = [row[0] for row in run(f"describe {table}").fetchall()]
        rows = [[f"u{n:03}", *(p.get(column) for column in columns[1:])] for n, p in enumerate(people)]
        if rows:
            places = ", ".join("(" + ", ".join("?" * len(columns)) + ")" for _ in rows)
            run(f"insert into {table} values {places}", [value for row in rows for value in row])


def rows_of(model: str, people: list[User]) -> list[dict[str, Any]]:
    fill(people)
    found = _CONNECTION.execute(f"select * from ({SQL[model]}) order by user_id")
    columns = [column[0] for column in found.description]
    rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    assert [row["user_id"] for row in rows] == [f"u{n:03}" for n in range(len(people))]
    return rows


def content(user: User) -> int:
    return int(user["reads_count_30d"] + sum(user[f"{name}_count_90d"] for name in COUNTS[:-1]))


def share(values: list[Any], own: Any, whole: int) -> int:
    """`whole` times the share of positive values that are not above `own`, downwards; 0 for nothing."""
    positive = [value for value in values if value and value > 0]
    if not own or own <= 0:
        return 0
    not_above = len([value for value in positive if value <= own])
    return whole * not_above // len(positive)


@settings(max_examples=20, deadline=None)
@given(people=st.lists(users(), max_size=9))
def test_scores_are_the_sum_of_parts_by_share(people: list[User]) -> None:
    with (PROJECT / "seeds/rules/score_parts.csv").open(encoding="utf-8") as file:
        points = {row["part"]: int(row["points"]) for row in csv.DictReader(file)}
    assert sum(points.values()) == 100
    values = {
        "money": [user["net_amount_365d"] for user in people],
        "frequency": [user["orders_count_365d"] for user in people],
        "recency": [user["last_order_date"].toordinal() if user["last_order_date"] else 0 for user in people],
        "activity": [user["active_days_90d"] for user in people],
        "content": [content(user) for user in people],
        "response": [
            user["touches_clicked_count_90d"] + user["touches_replied_count_90d"] for user in people
        ],
        "relation": [user["is_contact"] + (user["group_count"] > 0) + user["is_member"] for user in people],
        "advocacy": [user["invited_joined_count"] for user in people],
    }
    for number, row in enumerate(rows_of("user_scores", people)):
        parts = {part: row[f"{part}_points"] for part in points}
        assert parts == {
            part: Decimal(share(values[part], values[part][number], 100 * points[part])) / 100
            for part in points
        }
        assert row["score"] == sum(parts.values())
        assert 0 <= row["score"] <= 100


@settings(max_examples=30, deadline=None)
@given(people=st.lists(users(), max_size=12))
def test_layers_are_the_fewest_users_who_make_the_share(people: list[User]) -> None:
    rows = rows_of("user_layers", people)
    for column, measure, shares, names in (
        ("revenue_layer", "value_365d", (80, 95), ("first", "next", "last")),
        ("engagement_layer", "active_days_90d", (50, 80), ("core", "regular", "light")),
    ):
        total = sum(row[measure] for row in rows if row[measure] > 0)
        for row in rows:
            above = sum(other[measure] for other in rows if other[measure] > row[measure])
            if row[measure] <= 0:
                assert row[column] in ("none", "quiet")
            else:
                assert row[column] == names[sum(100 * above >= bound * total for bound in shares)]
        # Without its last users, the first layer would not make its share; with them it does.
        first = [row[measure] for row in rows if row[column] == names[0]]
        if first:
            assert 100 * sum(first) >= shares[0] * total
            assert 100 * sum(value for value in first if value > min(first)) < shares[0] * total
    spenders = [row["value_365d"] for row in rows if row["value_365d"] > 0]
    for row in rows:
        above = sum(value > row["value_365d"] for value in spenders)
        layer = ("top", "high", "middle", "base")[
            sum(100 * above >= bound * len(spenders) for bound in (1, 5, 20))
        ]
        assert row["value_layer"] == (layer if row["value_365d"] > 0 else "none")


def clusters_by_hand(people: list[User]) -> list[str]:
    with (PROJECT / "seeds/rules/cluster_archetypes.csv").open(encoding="utf-8") as file:
        starts = {row["cluster"]: tuple(int(row[name]) for name in FEATURES) for row in csv.DictReader(file)}
    bought = [user["orders_count_365d"] > 0 for user in people]
    values: list[list[Any]] = [
        [user["active_days_90d"] for user in people],
        [user["views_count_90d"] + user["searches_count_90d"] for user in people],
        [content(user) for user in people],
        [user["orders_count_365d"] for user in people],
        [user["average_order_amount"] for user in people],
        [user["discount_share"] for user in people],
        [user["categories_count"] * has for user, has in zip(people, bought, strict=True)],
    ]
    points = [tuple(share(column, column[n], 1000) for column in values) for n in range(len(people))]
    names = sorted(starts)
    centres = dict(starts)

    def nearest(point: tuple[int, ...]) -> str:
        return min(
            names,
            key=lambda name: (
                sum((a - b) ** 2 for a, b in zip(point, centres[name], strict=True)),
                name,
            ),
        )

    for _ in range(12):
        members: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
        for point in points[: SETTINGS["clusters_sample_users"]]:  # type: ignore[misc]
            members[nearest(point)].append(point)
        centres = {
            name: tuple(
                (sum(point[k] for point in own) + len(own) * starts[name][k]) // (2 * len(own))
                for k in range(len(FEATURES))
            )
            if own
            else starts[name]
            for name, own in members.items()
        }
    return [nearest(point) for point in points]


@settings(max_examples=8, deadline=None)
@given(people=st.lists(users(), max_size=18))
def test_clusters_equal_plain_python(people: list[User]) -> None:
    fill(people)
    _CONNECTION.execute(f"create or replace temp table int_users__levels as {SQL['int_users__levels']}")
    found = _CONNECTION.execute(f"select cluster from ({SQL['user_clusters']}) order by user_id").fetchall()
    assert [cluster for (cluster,) in found] == clusters_by_hand(people)
