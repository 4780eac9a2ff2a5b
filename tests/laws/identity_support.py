"""The identity models, run without dbt, and the same rules day by day in plain Python."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from orchestration.home import DBT_PROJECT_DIR as DBT
from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.registry import raw_columns, storage_type
from tests.laws.components_support import ComponentMacros
from tests.laws.model_support import CONFIGS, rendered

SEEDS = DBT.parent / "seeds" / "rules"
FOREVER = dt.date(9999, 12, 31)
# Every table that the identity models read.
TABLES = (
    "contacts",
    "members",
    "identity_links",
    "group_memberships",
    "orders",
    "refunds",
    "events",
    "touches",
    "coupons",
    "leads",
    "referrals",
    "surveys",
    "manual_tags",
    "experiment_assignments",
    "consents",
    "erasure_requests",
)
UPSTREAM = (
    "int_activity__event_keys",
    *(f"stg_raw__{table}" for table in TABLES if table != "events"),
    "int_activity__stream",
)
MODELS = (
    "int_identity__reissued",
    "int_identity__fact_sightings",
    "int_identity__told",
    "int_identity__statements",
    "int_identity__sightings",
    "int_identity__written",
    "int_identity__stated",
    "int_identity__shared",
    "int_identity__links",
    "int_identity__components",
    "int_identity__users",
    "int_identity__lookup",
    "int_identity__identifiers",
    "int_identity__refused_links",
    "int_identity__grown",
    "int_identity__joins",
    "int_identity__families",
    "int_identity__day_components",
    "int_identity__renames",
)
Identifier = tuple[str, str]
Pair = tuple[Identifier, Identifier]
Row = Mapping[str, Any]


# --- the models ------------------------------------------------------------------------------------------------------


def union_find(edges: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Smallest node of the component of every node that has an edge to another one."""
    parent: dict[Any, Any] = {}

    def find(node: Any) -> Any:
        root = node
        while parent[root] != root:
            root = parent[root]
        while parent[node] != root:
            parent[node], node = root, parent[node]
        return root

    for a, b in edges:
        if a != b:
            parent.setdefault(a, a)
            parent.setdefault(b, b)
            first, second = sorted((find(a), find(b)))
            parent[second] = first
    return {node: find(node) for node in parent}


@dataclass(frozen=True)
class File:
    """A landing file: the rows of a table that arrive on a day; another one of the same path replaces it."""

    table: str
    day: dt.date
    rows: tuple[Row, ...]
    path: str | None = None


@dataclass(frozen=True)
class Rules:
    """Limits per kind, (is_person, max_persons, max_linked, is_counted), and decisions about pairs."""

    limits: Mapping[str, tuple[bool, int, int, bool]]
    decisions: tuple[tuple[str, Identifier, Identifier], ...] = ()

    def limit(self, kind: str, other: str) -> int | None:
        """How many identifiers of another kind one may be linked to; None without a limit."""
        is_person, _, _, is_counted = self.limits.get(other, self.limits["*"])
        _, persons, linked, _ = self.limits.get(kind, self.limits["*"])
        return None if not is_counted else persons if is_person else linked


class Warehouse:
    """All models of identity in a database in memory, as of a day."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        run = self.connection.execute
        run("set TimeZone = 'UTC'")
        run("set variable hmac_inner = 'i'::blob; set variable hmac_outer = 'o'::blob")
        run("create table replaced_files (table_name varchar, taken_in_at timestamp, replaced_on date)")
        if rules is None:
            for seed in ("junk_identifiers", "event_names", "identifier_types", "identity_rules"):
                run(
                    f"create table {seed} as from read_csv('{SEEDS / seed}.csv', header=true, auto_detect=true)"
                )
        else:
            self._seeds(rules)

    @classmethod
    def of(cls, files: Sequence[File], rules: Rules, as_of: dt.date) -> Warehouse:
        """The models on some files."""
        warehouse = cls(rules)
        warehouse._raw(files, as_of)
        warehouse.build(as_of)
        return warehouse

    def build(self, as_of: dt.date) -> None:
        """Builds the models anew as of a day, from the tables raw_<table> and arrived_<table>."""
        self._build(as_of, None)

    def advance(self, files: Sequence[File], since: dt.date, as_of: dt.date) -> None:
        """Takes the models from the day they hold to a later one, as a build does that may go forward."""
        self._raw(files, as_of)
        run = self.connection.execute
        before, after = replacements(files, since), replacements(files, as_of)
        withdrawn = {
            files[number].table for number in after.keys() - before.keys() if files[number].day <= since
        }
        for table in TABLES:
            run(
                f"create or replace table since_{table} as from arrived_{table} where _arrived_on > date '{since}'"
            )
        self._build(as_of, None if withdrawn & {"events", "touches"} else since)

    def _build(self, as_of: dt.date, since: dt.date | None) -> None:
        run = self.connection.execute
        run(f"set variable as_of = date '{as_of}'")
        run(f"set variable since = date '{since or as_of}'")
        for model in UPSTREAM:
            run(f"create or replace table {model} as {rendered(model)}")
        for model in MODELS:
            sql = rendered(model, since is not None, lambda query: bool(run(query).fetchall()))
            config = CONFIGS.get(model, {})
            if config.get("materialized") == "components" and config.get("dated"):
                if since is None:
                    run(f"create or replace table {model} (node bigint, component bigint)")
                first = since or dt.date(1900, 1, 1)
                ComponentMacros(self.connection).forward_components(sql, model, f"date '{first}'")
            elif config.get("materialized") == "components":
                found = union_find(run(sql).fetchall())
                run(f"create or replace table {model} (node bigint, component bigint)")
                if found:
                    run(
                        f"insert into {model} select unnest(?::bigint[]), unnest(?::bigint[])",
                        [list(found), list(found.values())],
                    )
            elif since and "unique_key" in config:
                self._replace_rows(model, sql, config)
            else:
                run(f"create or replace table {model} as {sql}")

    def _replace_rows(self, model: str, sql: str, config: Mapping[str, Any]) -> None:
        """What the materialization `running` does with the strategy delete+insert."""
        run = self.connection.execute
        keys = config["unique_key"]
        same = " and ".join(
            f"delta.{key} is not distinct from {model}.{key}"
            for key in ([keys] if isinstance(keys, str) else keys)
        )
        run(f"create or replace temp table delta as {sql}")
        run(f"delete from {model} where exists (select 1 from delta where {same})")
        has_tombstones = config.get("meta", {}).get("tombstones")
        rows = "* exclude (is_gone) from delta where not is_gone" if has_tombstones else "* from delta"
        run(f"insert into {model} select {rows}")

    def _seeds(self, rules: Rules) -> None:
        run = self.connection.execute
        run("create table junk_identifiers (id_type varchar, value varchar)")
        run("create table event_names (event_name varchar, activity varchar)")
        run("insert into event_names values ('sign_in', 'login')")
        run(
            "create table identifier_types (id_type varchar, priority integer, is_person boolean, "
            "max_persons integer, max_linked integer, is_counted boolean)"
        )
        for place, (kind, (person, persons, linked, counted)) in enumerate(sorted(rules.limits.items())):
            run(
                "insert into identifier_types values (?, ?, ?, ?, ?, ?)",
                [kind, place, person, persons, linked, counted],
            )
        run(
            "create table identity_rules (action varchar, id_type_a varchar, id_a varchar, id_type_b varchar, "
            "id_b varchar, note varchar)"
        )
        for action, a, b in rules.decisions:
            run("insert into identity_rules values (?, ?, ?, ?, ?, null)", [action, *a, *b])

    def _raw(self, files: Sequence[File], as_of: dt.date) -> None:
        run = self.connection.execute
        replaced = replacements(files, as_of)
        run("delete from replaced_files")
        for table in TABLES:
            columns = raw_columns(TABLES_BY_NAME[table])
            declared = ", ".join(f'"{column.name}" {storage_type(column)}' for column in columns)
            run(f"create or replace table arrived_{table} ({declared})")
            run(f"create or replace table raw_{table} ({declared})")
        for number, file in enumerate(files):
            if file.day > as_of:
                continue
            taken_in_at = dt.datetime(2026, 1, 1) + dt.timedelta(seconds=number)
            if number in replaced:
                run(
                    "insert into replaced_files values (?, ?, ?)", [file.table, taken_in_at, replaced[number]]
                )
            names = [column.name for column in raw_columns(TABLES_BY_NAME[file.table])]
            for record, row in enumerate(file.rows):
                added = {
                    "_file_id": f"f{number}",
                    "_record": record,
                    "_arrived_on": file.day,
                    "_taken_in_at": taken_in_at,
                }
                values = [{**row, **added}.get(name) for name in names]
                for prefix in ("arrived", "raw") if number not in replaced else ("arrived",):
                    run(f"insert into {prefix}_{file.table} values ({', '.join('?' * len(names))})", values)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return self.connection.execute(query).fetchall()

    def identifiers(self) -> list[Identifier]:
        """All identifiers, by their number."""
        return [
            (kind, identifier)
            for kind, identifier, _ in self.rows(
                "select distinct id_type, id, identifier_key from int_identity__written "
                "where identifier_key is not null order by identifier_key"
            )
        ]


# --- the same in plain Python ----------------------------------------------------------------------------------------


def replacements(files: Sequence[File], as_of: dt.date) -> dict[int, dt.date]:
    """Day from which each replaced file counts no longer, by number."""
    found: dict[int, dt.date] = {}
    for number, file in enumerate(files):
        later = [
            other.day
            for other in files[number + 1 :]
            if file.path is not None
            and (other.table, other.path) == (file.table, file.path)
            and other.day <= as_of
        ]
        if later:
            found[number] = min(later)
    return found


_SEEN = {
    "members": "registered_at",
    "identity_links": "linked_at",
    "events": "occurred_at",
    "leads": "created_at",
    "orders": "ordered_at",
    "refunds": "refunded_at",
}


def _named(table: str, row: Row) -> list[Identifier]:
    if table == "members":
        return [("member_id", row["member_id"])]
    if table in ("events", "orders", "refunds"):
        return [(row["id_type"], row["id"])]
    return [("lead_id", row["lead_id"])] if table == "leads" else []


def _said(table: str, row: Row) -> list[Pair]:
    if table == "events":
        told = json.loads(row["properties"] or "{}")
        is_telling = row["event_name"].strip().lower() in ("form_submit", "sign_in")
        return [((row["id_type"], row["id"]), item) for item in told.items()] if is_telling else []
    if table == "members":
        me = ("member_id", row["member_id"])
        return [(me, (kind, row[kind])) for kind in ("phone", "device_id") if row.get(kind)]
    if table == "identity_links":
        return [((row["id_type_a"], row["id_a"]), (row["id_type_b"], row["id_b"]))]
    if table == "orders" and row["device_id"] and row["id"].strip():
        return [((row["id_type"], row["id"]), ("device_id", row["device_id"]))]
    if table == "leads" and row.get("id"):
        return [(("lead_id", row["lead_id"]), (row["id_type"], row["id"]))]
    return []


def _is_junk(identifier: Identifier) -> bool:
    return identifier[1].strip() == "" or (
        identifier[0] in ("phone", "device_id") and set(identifier[1]) <= {"0"}
    )


@dataclass
class Day:
    """What is so at the end of a business day. `names` maps each identifier to the one that names its user."""

    names: dict[Identifier, Identifier] = field(default_factory=dict)
    current: set[Identifier] = field(default_factory=set)
    stated: set[frozenset[Identifier]] = field(default_factory=set)
    links: set[frozenset[Identifier]] = field(default_factory=set)


class History:
    """Business days one after the other: who is who, in the order in which it became known."""

    def __init__(self, files: Sequence[File], rules: Rules) -> None:
        self._files, self._rules = files, rules
        self._priority = {kind: place for place, kind in enumerate(sorted(rules.limits))}
        self.order: list[Identifier] = []
        self.days: dict[dt.date, Day] = {}
        # (day, old name, new name, kind)
        self.renames: set[tuple[dt.date, Identifier, Identifier, str]] = set()

    def go_to(self, day: dt.date) -> Day:
        """Adds the next business day."""
        before = self.days[max(self.days)] if self.days else Day()
        found = self._day(day)
        place = {identifier: number for number, identifier in enumerate(self.order)}
        components = union_find(
            (place[a], place[b]) for a, b in (sorted(pair, key=place.__getitem__) for pair in found.links)
        )
        found.names = {
            identifier: self.order[components.get(number, number)] for identifier, number in place.items()
        }
        for identifier, old in before.names.items():
            new = found.names[identifier]
            if new != old:
                kind = "merge" if found.names[old] == new else "split"
                self.renames.add((day, old, new, kind))
        self.days[day] = found
        return found

    def _rows_in_force(self, day: dt.date) -> Iterator[tuple[str, Row, dt.datetime]]:
        replaced = replacements(self._files, day)
        latest: dict[tuple[str, Any], Row] = {}
        for number, file in sorted(enumerate(self._files), key=lambda item: (item[1].day, item[0])):
            if file.day > day or number in replaced:
                continue
            for record, row in enumerate(file.rows):
                key: Any = tuple(row.get(name) for name in TABLES_BY_NAME[file.table].key)
                if file.table == "events" and row.get("event_id") is None:
                    key = (number, record)
                latest[file.table, key] = row
        for (table, _), row in latest.items():
            seen_at = row[_SEEN[table]]
            if (seen_at + dt.timedelta(hours=8)).date() <= day:
                yield table, row, seen_at

    def _day(self, day: dt.date) -> Day:
        found = Day()
        first_seen: dict[Identifier, dt.datetime] = {}
        said: set[Pair] = set()
        for table, row, seen_at in self._rows_in_force(day):
            pairs = _said(table, row)
            said |= set(pairs)
            for who in [*_named(table, row), *(side for pair in pairs for side in pair)]:
                if not _is_junk(who):
                    first_seen[who] = min(seen_at, first_seen.get(who, seen_at))
        found.current = set(first_seen)
        new = [who for who in first_seen if who not in set(self.order)]
        self.order += sorted(new, key=lambda who: (first_seen[who], self._rank(who[0]), who))
        excluded = {frozenset((a, b)) for action, a, b in self._rules.decisions if action == "exclude"}
        included = {
            frozenset((a, b))
            for action, a, b in self._rules.decisions
            if action == "include" and a != b and a in self.order and b in self.order
        } - excluded
        found.stated = {
            frozenset((a, b)) for a, b in said if a != b and not _is_junk(a) and not _is_junk(b)
        } - excluded
        neighbours: dict[tuple[Identifier, str], set[Identifier]] = defaultdict(set)
        for pair in found.stated - included:
            a, b = pair
            neighbours[a, b[0]].add(b)
            neighbours[b, a[0]].add(a)
        shared = {
            who
            for (who, other), near in neighbours.items()
            if (limit := self._rules.limit(who[0], other)) is not None and len(near) > limit
        }
        found.links = {pair for pair in found.stated if not pair & shared} | included
        return found

    def _rank(self, kind: str) -> int:
        return self._priority.get(kind, self._priority["*"])
