"""The macros that find connected components, run on a DuckDB connection without dbt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from tests.laws import Templates

MACROS = Path(__file__).parents[2] / "dbt_project" / "macros"


class _Returned(Exception):
    """Ends a macro as dbt's `return` does."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class ComponentMacros:
    """`connected_components` and `forward_components`, each statement run on the connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._environment = Templates(
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=False
        )
        self._environment.globals.update(
            scratch_table=lambda name, sql: self._run(f"create or replace temp table {name} as {sql}"),
            drop_scratch_table=lambda name: self._run(f"drop table if exists {name}"),
            has_rows=lambda sql: bool(connection.execute(f"select 1 from ({sql}) limit 1").fetchall()),
            run_sql=lambda _, sql: self._run(sql),
            connected_components=self.connected_components,
            open_end=lambda: "cast('9999-12-31' as date)",
        )
        self._environment.globals["return"] = self._return

    def connected_components(self, edges_sql: str, prefix: str = "graph") -> str:
        """Name of the table (node, component) of the edges that `edges_sql` yields."""
        return str(self._call("connected_components", edges_sql, prefix))

    def forward_components(self, edges_sql: str, held: str, since: str) -> None:
        """Bring the table `held` from the day `since` (an SQL date) to the day of the edges."""
        self._call("forward_components", edges_sql, held, since, "forward")

    def _call(self, name: str, *arguments: str) -> Any:
        template = self._environment.from_string((MACROS / f"{name}.sql").read_text(encoding="utf-8"))
        try:
            macro: Callable[..., Any] = getattr(template.make_module(), name)
            return macro(*arguments)
        except _Returned as returned:
            return returned.value

    def _run(self, sql: str) -> str:
        self._connection.execute(sql)
        return ""

    def _return(self, value: Any) -> None:
        raise _Returned(value)
