"""The components that the SQL finds are those of a union-find, on any graph."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.home import DBT_PROJECT_DIR
from tests.laws.components_support import ComponentMacros
from tests.laws.identity_support import union_find

Edge = tuple[int, int]
Components = dict[int, int]


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[Edge]], Components]:
    """Runs the project's own materialization on a graph, through dbt."""
    from dbt.cli.main import dbtRunner

    project = tmp_path_factory.mktemp("graph")
    edges_file, found_file, tables_file = (project / f"{name}.csv" for name in ("edges", "found", "tables"))
    (project / "dbt_project.yml").write_text(
        yaml.safe_dump(
            {
                "name": "any_graph",
                "profile": "any_graph",
                "macro-paths": [str(DBT_PROJECT_DIR / "macros")],
                "vars": {"as_of": None, "business_timezone": "UTC"},
                "flags": {"send_anonymous_usage_stats": False},
            }
        )
    )
    output = {"type": "duckdb", "path": str(project / "graph.duckdb"), "threads": 1}
    (project / "profiles.yml").write_text(
        yaml.safe_dump({"any_graph": {"target": "test", "outputs": {"test": output}}})
    )
    (project / "models").mkdir()
    # dbt keeps the database open in this process, so the model itself copies out what it made and left.
    (project / "models" / "found.sql").write_text(
        "{{ config(materialized='components', post_hook=["
        f"""{{'sql': "copy (select node, component from {{{{ this }}}}) to '{found_file}'"}},"""
        f"""{{'sql': "copy (select table_name from duckdb_tables()) to '{tables_file}'", 'transaction': false}}"""
        "]) }}\n"
        f"select a, b from read_csv('{edges_file}', header=true, columns={{'a': 'bigint', 'b': 'bigint'}})\n"
    )
    runner = dbtRunner()
    folders = ["--project-dir", str(project), "--profiles-dir", str(project), "--quiet"]

    def run(edges: Iterable[Edge]) -> Components:
        edges_file.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in edges))
        outcome = runner.invoke(["run", *folders])
        assert outcome.success, outcome.exception or outcome.result
        assert tables_file.read_text().split() == ["table_name", "found"]
        found = [line.split(",") for line in found_file.read_text().split()[1:]]
        assert len({node for node, _ in found}) == len(found)
        return {int(node): int(component) for node, component in found}

    return run


def graphs() -> st.SearchStrategy[list[Edge]]:
    """Many small graphs in one: stars, chains, cliques and noise over numbers of any size."""
    node = st.integers(min_value=0, max_value=14)
    graph = st.lists(st.tuples(node, node), max_size=24)

    def place(parts: list[tuple[list[Edge], int]]) -> list[Edge]:
        return [
            (a * step + 1000 * n, b * step + 1000 * n)
            for n, (edges, step) in enumerate(parts)
            for a, b in edges
        ]

    return st.lists(st.tuples(graph, st.sampled_from([1, 7, 66])), min_size=0, max_size=60).map(place)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_components_equal_union_find(
    components: Callable[[Iterable[Edge]], Components], edges: list[Edge]
) -> None:
    assert components(edges) == union_find(edges)


def test_no_edges_make_no_components(components: Callable[[Iterable[Edge]], Components]) -> None:
    assert components([]) == {}
    assert components([(3, 3)]) == {}


def test_long_chains_and_large_stars_contract(components: Callable[[Iterable[Edge]], Components]) -> None:
    generator = random.Random(20260131)
    rising = [(n, n + 1) for n in range(2000)]
    names = [10_000 + n for n in range(2001)]
    generator.shuffle(names)
    shuffled = [(names[n], names[n + 1]) for n in range(2000)]
    zigzag = [(20_000 + n, 30_000 + (n + shift) % 1000) for n in range(1000) for shift in (0, 1)]
    star = [(49_999, 40_000 + n) for n in range(3000)]
    noise = [(generator.randrange(50_000, 60_000), generator.randrange(50_000, 60_000)) for _ in range(6000)]
    edges = [*rising, *shuffled, *zigzag, *star, *noise]
    generator.shuffle(edges)
    found = components(edges)
    assert found == union_find(edges)
    assert {found[n] for n in range(2001)} == {0}
    assert {found[n] for n in names} == {10_000}


def lives(nodes: int = 12, days: int = 8) -> st.SearchStrategy[list[tuple[int, int, int, int]]]:
    """Edges with the stretch of days they count for; day `days` stands for an open end."""
    node, day = st.integers(0, nodes), st.integers(0, days)
    edge = st.tuples(node, node, day, day).map(lambda e: (e[0], e[1], min(e[2:]), max(e[2:])))
    lasting = st.tuples(node, node, day).map(lambda e: (*e, days))
    return st.lists(st.one_of(edge, lasting, lasting), max_size=40).map(
        lambda edges: [edge for edge in edges if edge[2] < edge[3]]
    )


@settings(max_examples=40, deadline=None)
@given(lives(), st.data())
def test_going_forward_equals_all_edges_anew(
    edges: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    """Days come one by one or several at a time, edges begin and end in any order."""
    days = 8
    visited = sorted({0, days - 1, *data.draw(st.sets(st.integers(0, days - 1)))})
    with duckdb.connect(config={"threads": 1}) as connection:
        macros = ComponentMacros(connection)
        connection.execute("create table held (node bigint, component bigint)")
        connection.execute("create table life (a bigint, b bigint, begins integer, ends integer)")
        if edges:
            connection.executemany("insert into life values (?, ?, ?, ?)", edges)
        before = -1
        for day in visited:
            # What a build of the day knows: nothing that begins later, and no end that lies ahead.
            known = f"""
                select a, b, date '2026-01-01' + begins as counts_from,
                    case when ends > {day} then date '9999-12-31' else date '2026-01-01' + ends end as counts_until
                from life where begins <= {day}"""
            macros.forward_components(known, "held", f"(date '2026-01-01' + ({before}))")
            found = connection.execute("select node, component from held").fetchall()
            expected = union_find((a, b) for a, b, begins, ends in edges if begins <= day < ends)
            assert len(found) == len(expected)
            assert dict(found) == expected
            before = day
        left = connection.execute("select table_name from duckdb_tables()").fetchall()
        assert {name for (name,) in left} == {"held", "life"}
