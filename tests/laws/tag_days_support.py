"""The compiled tag models on plain DuckDB, taken from day to day as the warehouse does it, without dbt."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import jinja2

# In the order of building, with what they are built as.
MODELS = {
    "int_tags__judged": "running",
    "int_tags__days": "by_date",
    "int_tags__evaluated": "view",
    "user_tag_history": "by_date",
    "user_tags": "running",
    "tag_coverage": "table",
    "int_tags__value_counts": "table",
}


class _Dbt:
    @staticmethod
    def type_string() -> str:
        return "varchar"


class TagWarehouse:
    """Tables of one warehouse. What the models read besides each other is the caller's to fill."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, files: Mapping[str, str], history_days: int = 3
    ) -> None:
        self.connection = connection
        self.models = {Path(path).stem: text for path, text in files.items() if path.endswith(".sql")}
        self.history_days = history_days
        self.held: dt.date | None = None

    def build(self, as_of: dt.date, *, forward: bool) -> None:
        """All tag models for a day, going on from the day held or anew."""
        since = self.held if forward else None
        for name, kind in MODELS.items():
            self._build(name, kind, as_of, since)
        self.held = as_of

    def _build(self, name: str, kind: str, as_of: dt.date, since: dt.date | None) -> None:
        there = name in {
            table for (table,) in self.connection.execute("select table_name from duckdb_tables()").fetchall()
        }
        settings: dict[str, Any] = {}
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)

        def counted_rows(part: str, query: str) -> str:
            self.connection.execute(f"create or replace temp table {name}__{part} as {query}")
            return f"select * from {name}__{part}"

        environment.globals.update(
            this=name,
            ref=lambda model: model,
            as_of=lambda: f"date '{as_of}'",
            forward_from=lambda: f"date '{since}'",
            is_forward=lambda: since is not None,
            is_incremental=lambda: there,
            config=lambda **given: settings.update(given) or "",
            counted_rows=counted_rows,
            row_hash=lambda columns: f"hash({', '.join(columns)})",
            days_between=lambda earlier, later: f"date_diff('day', {earlier}, {later})",
            add_days=lambda date, days: f"({date} + {days})",
            day_start=lambda date: f"(cast({date} as timestamp) - interval 8 hour)",
            wide_day_expired=lambda day, _: f"{day} <= date '{as_of}' - {self.history_days + 4}",
            var=lambda _: self.history_days,
            dbt=_Dbt,
        )
        query = environment.from_string(self.models[name]).render()
        hooks = {
            when: environment.from_string(settings.get(f"{when}_hook", "")).render()
            for when in ("pre", "post")
        }
        run = self.connection.execute
        if kind == "view":
            run(f"create or replace view {name} as {query}")
        elif kind == "table" or not there or (kind == "running" and since is None):
            run(f"create or replace table {name} as {query}")
        elif kind == "by_date":
            run(f"create or replace temp table delta as {query}")
            run(hooks["pre"] or "select 1")
            run(f"delete from {name} where as_of_date in (select as_of_date from delta)")
            run(f"insert into {name} by name select * from delta")
            run(hooks["post"] or "select 1")
        else:
            run(f"create or replace temp table delta as {query}")
            for statement in hooks["pre"].split("; "):
                run(statement or "select 1")
            run(
                f"delete from {name} where rowid in (select held.rowid from {name} as held semi join delta using (user_id))"
            )
            run(f"insert into {name} by name select * exclude (is_gone) from delta where not is_gone")
