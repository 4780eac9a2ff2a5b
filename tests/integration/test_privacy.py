"""No published mart holds an identifier of a person as the input wrote it, in any column, whole or inside a longer text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from orchestration.home import SEEDS_DIR, Home
from orchestration.ingestion.contracts import TABLES, Table

# Columns of the input that identify a person by themselves; pairs (id_type, id) are found by their names.
KINDS = ("unionid", "openid", "contact_id", "member_id", "phone", "email", "device_id", "buyer_id", "lead_id")
# What the interface declares: a lead is looked up by its number in the sales system.
DECLARED = {("leads", "lead_id")}
# Shorter ones are equal to ordinary words and numbers by chance.
SHORTEST = 6
JUNK = SEEDS_DIR / "rules" / "junk_identifiers.csv"


def personal_values(table: Table) -> Iterator[tuple[str, str]]:
    """SQL expressions (kind, value) of the columns and properties that hold identifiers or names of persons."""
    names = {column.name for column in table.columns}
    yield from ((f"'{kind}'", kind) for kind in KINDS if kind in names)
    yield from ((kind, kind.replace("id_type", "id")) for kind in sorted(names) if "id_type" in kind)
    yield from ((f"'{kind}'", f"properties ->> '{kind}'") for kind in KINDS)
    if table.name == "contacts":
        yield "'name'", "name"


def write_personal(home: Home, target: Path) -> None:
    """Parquet file (kind, id): identifiers and names as written in what was taken in, and as normalised."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{home.private_marts}' as private (read_only)")
        queries = ["select id_type as kind, id from private.main.user_identifiers"]
        for table in TABLES:
            files = [str(file) for file in (home.raw / table.name).rglob("*.parquet")]
            values = [f"{{'kind': {kind}, 'id': trim({value})}}" for kind, value in personal_values(table)]
            if files:
                queries.append(
                    f"select unnest([{', '.join(values)}], recursive := true) "
                    f"from read_parquet({files!r}, union_by_name=true)"
                )
        connection.execute(
            f"copy (select distinct kind, id from ({' union all '.join(queries)}) as found "
            f"where (length(id) >= {SHORTEST} or kind = 'name') and ltrim(id, '0') <> '' "
            f"and lower(id) not in (select value from '{JUNK}')) to '{target}' (format parquet)"
        )


def leaks(
    connection: duckdb.DuckDBPyConnection, personal: Path, marts: Sequence[str]
) -> set[tuple[str, str]]:
    """(mart, column) of every column with a value that is, or holds as a word, one of `personal`."""
    found = set()
    for mart in marts:
        columns = connection.execute(
            "select column_name from duckdb_columns() where database_name = 'marts' and table_name = ? "
            "and data_type not in ('DATE', 'TIMESTAMP', 'BOOLEAN')",
            [mart],
        ).fetchall()
        values = ", ".join(
            f"{{'name': '{name}', 'text': cast(\"{name}\" as varchar)}}" for (name,) in columns
        )
        # Words at every sign that is in no identifier, at those that are in some, and a telephone as people write it.
        rows = connection.execute(
            rf"""
            with cells as (select unnest([{values}], recursive := true) from marts.main."{mart}"),
            values as (select distinct name, text from cells),
            words as (
                select name, text as word from values
                union
                select name, unnest(string_split_regex(text, '[^0-9A-Za-z@._+\p{{Han}}-]+')) from values
                union
                select name, unnest(string_split_regex(text, '[^0-9A-Za-z@\p{{Han}}]+')) from values
                union
                select name, regexp_replace(regexp_replace(text, '[ ()+-]', '', 'g'), '^(00)?86', '') from values
            )
            select distinct words.name from words semi join '{personal}' as personal on personal.id = words.word
            """
        ).fetchall()
        found |= {(mart, name) for (name,) in rows}
    return found


@pytest.fixture(scope="module")
def home(small_home: Path) -> Home:
    return Home(small_home)


@pytest.fixture(scope="module")
def personal(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("personal") / "personal.parquet"
    write_personal(home, file)
    return file


@pytest.fixture(scope="module")
def published(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{home.marts}' as marts (read_only)")
        connection.execute(f"attach '{home.private_marts}' as private (read_only)")
        yield connection


def tables(connection: duckdb.DuckDBPyConnection, database: str) -> list[str]:
    query = "select table_name from duckdb_tables() where database_name = ? order by 1"
    return [name for (name,) in connection.execute(query, [database]).fetchall()]


def test_every_kind_of_identifier_is_looked_for(published: duckdb.DuckDBPyConnection, personal: Path) -> None:
    counts = dict(published.execute(f"select kind, count(*) from '{personal}' group by 1").fetchall())
    assert counts.keys() >= {*KINDS, "name"}
    assert sum(counts.values()) > 2000


def test_no_published_mart_holds_a_raw_identifier(
    home: Home, published: duckdb.DuckDBPyConnection, personal: Path
) -> None:
    marts = tables(published, "marts")
    assert len(marts) > 20
    assert leaks(published, personal, marts) == DECLARED
    # What holds identifiers in clear is a file of its own that only its owner reads.
    assert tables(published, "private") == ["publication", "user_identifiers", "user_names"]
    assert home.private_marts.stat().st_mode & 0o777 == 0o600


def test_the_parquet_files_are_the_marts(home: Home, published: duckdb.DuckDBPyConnection) -> None:
    version = max((home.published / "parquet").iterdir())
    marts = tables(published, "marts")
    assert {file.stem for file in version.iterdir()} == set(marts)
    for mart in marts:
        apart = f"from marts.main.\"{mart}\" except all from '{version / mart}.parquet'"
        assert published.execute(f"select count(*) from ({apart})").fetchall() == [(0,)], mart


@pytest.mark.parametrize(
    ("mart", "column", "kind", "value"),
    [
        ("user_wide", "top_brand", "phone", "id"),
        ("leads", "origin", "phone", "'+86 ' || id[:3] || ' ' || id[4:7] || ' ' || id[8:]"),
        ("user_tags", "value", "email", "id"),
        ("user_timeline", "touch_id", "openid", "'view:' || id || ':1'"),
        ("rfm_segments", "method", "device_id", "'{\"d\": \"' || id || '\"}'"),
        ("funnel_users", "correlation_value", "name", "id"),
        ("user_merges", "source", "member_id", "id || '-2026_x'"),
    ],
)
def test_one_leaking_value_of_one_column_is_found(
    home: Home, personal: Path, tmp_path: Path, mart: str, column: str, kind: str, value: str
) -> None:
    copy = shutil.copyfile(home.marts, tmp_path / "marts.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{copy}' as marts")
        before = leaks(connection, personal, [mart])
        connection.execute(
            f'update marts.main."{mart}" set "{column}" = (select min({value}) from \'{personal}\' where kind = ?) '
            f'where rowid = (select min(rowid) from marts.main."{mart}")',
            [kind],
        )
        assert leaks(connection, personal, [mart]) - before == {(mart, column)}
