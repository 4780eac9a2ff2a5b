"""The compiled tag models on plain DuckDB, taken from day to day as the warehouse does it, without dbt."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from orchestration.home import DBT_PROJECT_DIR

# In the order of building, with what they are built as.
MODELS = {
    "int_tags__judged": "running",
    "int_tags__user_days": "by_date",
    "int_tags__versions": "append",
    "int_tags__day_counts": "by_date",
    "int_tags__kept": "by_date",
    "int_tags__evaluated": "view",
    "user_tag_history": "by_date",
    "user_tags": "running",
    "tag_coverage": "table",
    "int_tags__value_counts": "table",
}


def _macro(file: str, name: str) -> Any:
    text = (DBT_PROJECT_DIR / "macros" / f"{file}.sql").read_text()
    return getattr(
        jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"]).from_string(text).module, name
    )


stacked = _macro("stacked", "duckdb__stacked")


class _Dbt:
    @staticmethod
    def type_string() -> str:
        return "varchar"


class TagWarehouse:
    """Tables of one warehouse. What the models read besides each other is the caller's to fill."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: Mapping[str, str],
        history_days: int = 3,
        wide_days: int | None = None,
        users_per_part: int | None = None,
    ) -> None:
        self.connection = connection
        self.models = {Path(path).stem: text for path, text in files.items() if path.endswith(".sql")}
        self.history_days = history_days
        self.wide_days = history_days + 4 if wide_days is None else wide_days
        self.users_per_part = users_per_part
        self.held: dt.date | None = None
        # What main.running_models holds: the day of each running model and the day it went on from.
        self.running: dict[str, tuple[dt.date, dt.date | None]] = {}

    def build(self, as_of: dt.date, *, forward: bool) -> None:
        """All tag models for a day, going on from the day held or anew."""
        since = self.held if forward else None
        for name, kind in MODELS.items():
            self._build(name, kind, as_of, since)
        self.held = as_of

    def _is_forward(self, name: str, as_of: dt.date, since: dt.date | None) -> bool:
        """As the macro of that name; int_tags__judged is the one running model that others here read."""
        read = () if name == "int_tags__judged" else ("int_tags__judged",)
        holds = name in self.running and self.running[name][0] == since
        return since is not None and holds and all(self.running.get(m) == (as_of, since) for m in read)

    def _has_rows(self, query: str) -> bool:
        return bool(self.connection.execute(query).fetchall())

    def _parts(self, meta: Mapping[str, str]) -> list[tuple[int, int]]:
        """As the macro part_count: number of each part and how many there are."""
        if "parts_of" not in meta or self.users_per_part is None:
            return [(0, 1)]
        counted = f"select count(*) from {meta['parts_of']} where {meta.get('parts_among', 'true')}"
        ((users,),) = self.connection.execute(counted).fetchall()
        parts = users // self.users_per_part + 1
        return [(part, parts) for part in range(parts)]

    def _build(self, name: str, kind: str, as_of: dt.date, since: dt.date | None) -> None:
        there = self._has_rows(f"select 1 from duckdb_tables() where table_name = '{name}'")
        settings: dict[str, Any] = {}
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"])

        def counted_rows(part: str, query: str) -> str:
            self.connection.execute(f"create or replace temp table {name}__{part} as {query}")
            return f"select * from {name}__{part}"

        environment.globals.update(
            this=name,
            ref=lambda model: model,
            as_of=lambda: f"date '{as_of}'",
            forward_from=lambda: f"date '{since}'" if since else "cast(null as date)",
            is_forward=lambda: self._is_forward(name, as_of, since),
            has_gone_forward=lambda model: since is not None and self.running.get(model) == (as_of, since),
            build_anew=lambda: self.running.pop(name),
            has_rows=self._has_rows,
            holds_days=lambda: there,
            config=lambda **given: settings.update(given) or "",
            counted_rows=counted_rows,
            scratch_name=lambda part: f"{name}__{part}",
            stacked=stacked,
            in_part=_macro("in_part", "duckdb__in_part"),
            row_hash=lambda columns: f"hash({', '.join(columns)})",
            days_between=lambda earlier, later: f"date_diff('day', {earlier}, {later})",
            add_days=lambda date, days: f"({date} + {days})",
            day_start=lambda date: f"(cast({date} as timestamp) - interval 8 hour)",
            wide_day_expired=lambda day, table: (
                f"date '{as_of}' = (select max({day}) from {table}) and {day} <= date '{as_of}' - {self.wide_days}"
            ),
            var=lambda _: self.history_days,
            dbt=_Dbt,
        )
        query = environment.from_string(self.models[name]).render()
        forward = kind == "running" and self._is_forward(name, as_of, since)
        hooks = {
            when: environment.from_string(settings.get(f"{when}_hook", "")).render() or "select 1"
            for when in ("pre", "post")
        }
        run = self.connection.execute
        if kind == "view":
            run(f"create or replace view {name} as {query}")
        elif kind == "table" or not there or (kind == "running" and not forward):
            run(f"create or replace table {name} as {query}")
        elif kind in ("by_date", "append"):
            run("begin")
            if kind == "by_date":
                run(f"delete from {name} where as_of_date = date '{as_of}'")
            for part, parts in self._parts(settings.get("meta", {})):
                run(f"set variable part_count = {parts}; set variable part = {part}")
                run(f"insert into {name} by name {query}")
            run("reset variable part_count; reset variable part")
        else:
            replaced = f"{name}__{settings['meta']['replaced']}"
            run("begin")
            for statement in hooks["pre"].split("; "):
                run(statement)
            if self._has_rows(f"select 1 from {replaced} limit 1"):
                run(
                    f"delete from {name} where rowid in (select held.rowid from {name} as held join {replaced} using (user_id))"
                )
            run(f"insert into {name} by name {query}")
            run("commit")
        if kind == "running":
            self.running[name] = as_of, since if forward else None
        if kind in ("by_date", "append"):
            run(hooks["post"])
            if there:
                run("commit")
