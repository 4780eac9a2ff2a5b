"""Rules asked of the published marts: the session, how it spells days, and the users with all that rules read of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from orchestration.errors import JingxiError
from orchestration.home import Home
from orchestration.settings import load_settings
from orchestration.specs.catalog import KEY, ValueType
from orchestration.specs.event_sql import columns_of_activities, counted_ctes, needed_rows
from orchestration.specs.kinds import Project
from orchestration.specs.predicates import Counted, Names, Predicate, events_of, literal
from orchestration.specs.rule_sql import Sources
from orchestration.specs.tag_rules import value_column
from orchestration.specs.tags import Tag

ACTIVITIES = "user_activities"


@dataclass(frozen=True)
class Marts:
    """The published marts, open for reading, and the project whose rules are asked."""

    session: duckdb.DuckDBPyConnection
    as_of: dt.date
    days: Names
    zone: ZoneInfo
    project: Project
    activity_days: int  # how many days of activities are published

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first value of a question."""
        row = self.session.execute(sql, list(parameters)).fetchone()
        return row[0] if row else None

    def users(
        self,
        rules: Sequence[Predicate],
        columns: Collection[str],
        tags: Collection[str] = (),
        declared: Mapping[str, Tag] | None = None,
    ) -> str:
        """CTEs, the last one `users`: these columns of user_wide, the values of tags, and what else the rules read."""
        sources = Sources.of(rules, self.project.segments)
        ctes = []
        selected = [f"user_wide.{name}" for name in (KEY, *sorted(set(columns) - {KEY}))]
        joins = sources.joins()
        if tags:
            values = "".join(
                f", {self._tag_sql((declared or {})[name])} as {value_column(name)}" for name in sorted(tags)
            )
            listed = ", ".join(literal(name) for name in sorted(tags))
            ctes.append(
                f"tag_values as (select user_id{values} from user_tags where tag in ({listed}) group by user_id)"
            )
            joins.append("left join tag_values on user_wide.user_id = tag_values.user_id")
            selected += [f"tag_values.{value_column(name)}" for name in sorted(tags)]
        if sources.counted:
            read = "".join(f", {name}" for name in columns_of_activities(sources.counted))
            ctes.append(
                "activities as materialized (\n"
                f"select user_id, activity, occurred_at, activity_date{read}\n"
                f"from {ACTIVITIES} where {needed_rows(sources.counted, self.days)})"
            )
            ctes += [f"{name} as ({sql})" for name, sql in counted_ctes(sources.counted, self.days)]
        ctes += sources.imports(lambda table: f"marts.main.{table}")
        columns_sql = ", ".join([*selected, *sources.columns()])
        ctes.append(f"users as (select {columns_sql} from user_wide {' '.join(joins)})")
        return ",\n".join(ctes)

    def _tag_sql(self, tag: Tag) -> str:
        value = "value"
        if tag.type is ValueType.BOOLEAN:
            value = "value = 'true'"
        elif tag.type is not ValueType.TEXT:
            value = f"cast(value as {self.project.columns[tag.spec.column or ''].sql_type})"
        return f"max(case when tag = {literal(tag.code)} then {value} end)"

    def notes_on_activities(self, counted: Sequence[Counted]) -> list[str]:
        """Says when a rule looks further back than the published activities."""
        first = self.one(f"select min(activity_date) from {ACTIVITIES}") if counted else None
        if first is None:
            return []
        kept = (self.as_of - first).days + 1
        asked = [event.days for question in counted for event in events_of(question)]
        if kept < self.activity_days or all(days is not None and days <= kept for days in asked):
            return []
        return [
            f"activities before {first} are not published and not counted here; the next run counts them."
        ]


@contextmanager
def open_marts(home: Home, project: Project) -> Iterator[Marts]:
    """The published marts of a home. Raises JingxiError when there are none, or when they are older than the specs."""
    settings = load_settings(home)[0]
    with _session(home) as session:
        try:
            row = session.execute("select as_of_date from publication").fetchone()
            day: dt.date = row[0] if row else dt.date.min
            days = _Days(day, settings.zone)
            yield Marts(session, day, days, settings.zone, project, settings.history.activity_days)
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            raise JingxiError(
                f"The published marts in {home.path} are older than the specs: run `jingxi run` first."
            ) from error


@contextmanager
def _session(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session that can read the published marts and nothing else."""
    if not home.marts.exists():
        raise JingxiError(f"Nothing is published in {home.path} yet: run `jingxi run` first.")
    with duckdb.connect(":memory:") as session:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            session.execute(f"set {name} = false")
        session.execute("set TimeZone = 'UTC'")
        path = str(home.marts).replace("'", "''")
        session.execute(f"attach '{path}' as marts (read_only)")
        session.execute("set search_path = 'marts.main,memory.main'")
        session.execute("set enable_external_access = false")
        session.execute("set lock_configuration = true")
        yield session


class _Days(Names):
    """How a question to the published marts spells days and moments."""

    def __init__(self, day: dt.date, zone: ZoneInfo) -> None:
        self.day = day
        self.zone = zone

    def as_of(self, days: int) -> str:
        return literal(self.day + dt.timedelta(days=days))

    def moment(self, days: int) -> str:
        begin = dt.datetime.combine(self.day + dt.timedelta(days=days), dt.time(), self.zone)
        return f"cast('{begin.astimezone(dt.UTC).replace(tzinfo=None).isoformat(' ')}' as timestamp)"

    def later(self, day: str, days: int) -> str:
        return f"({day} + {days})"
