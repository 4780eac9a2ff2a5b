"""The plan: what is published against what the destination has acknowledged, row by row, and what a guard says to it.

Everything happens in one DuckDB session over one published version. Values leave it only for the payload of the run; the
ledger gets their keyed hashes.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from pydantic import JsonValue

from orchestration.activation.activate import Plan
from orchestration.activation.guards import Facts, objections
from orchestration.activation.ledger import Ledger
from orchestration.activation.lines import Line
from orchestration.activation.payload import CHUNK_ROWS, Keys, PlannedRow
from orchestration.activation.policy import ContactPolicy
from orchestration.destinations.protocol import Destination
from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.publishing import database
from orchestration.publishing.audience_guard import SizeGuard
from orchestration.publishing.database import Place, name, text
from orchestration.publishing.pair import open_pair
from orchestration.publishing.publication import Publication, read_publication
from orchestration.settings import Settings

NO_IDENTIFIER = "no_identifier"
KEY_UNKNOWN = "key_unknown"
# Whoever said no is also taken away by a line that mirrors.
REFUSALS = ("erased", "no_consent", "consent_withdrawn", "unsubscribed")
_TAG_SEPARATOR = "; "
_EXACT_DIGITS = 15
_COMPUTED = "user_id varchar, key varchar, fields varchar, key_hash varchar, row_hash varchar, place bigint"


class PlanError(JingxiError):
    """What is published cannot be sent as the line declares it. Nothing was sent."""


class WarehousePlanner:
    """Plans from the published marts of a home."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        ledger: Ledger,
        keys: Keys,
        policy: ContactPolicy,
        *,
        audience_guards: Mapping[str, SizeGuard] | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.home, self.settings, self.ledger, self.keys = home, settings, ledger, keys
        self.policy = policy
        self.audience_guards = audience_guards or {}
        self.now = now

    def source(self, line: Line) -> str:
        """Publication and declaration that a plan would be made from. Raises JingxiError when nothing is published."""
        publication = read_publication(self.home.marts)
        if publication is None:
            raise JingxiError(f"Nothing is published in {self.home.path} yet: run `jingxi run` first.")
        return line.source(publication.as_of, publication.input_hash)

    def plan(self, line: Line, destination: Destination, *, retry: bool = False) -> Plan:
        """The difference; close the plan when its rows are read. Raises UsageError, PlanError, JingxiError."""
        _check(line, destination)
        stack = ExitStack()
        try:
            session, publication = stack.enter_context(open_pair(self.home, self.settings, then="push again"))
            return _Planning(self, line, session, publication, retry).plan(stack.close)
        except duckdb.Error as error:
            stack.close()
            raise PlanError(
                f"The activation {line.activation} cannot be planned: {database.reason(error)}."
            ) from error
        except BaseException:
            stack.close()
            raise


def _check(line: Line, destination: Destination) -> None:
    can = destination.capabilities
    missing = sorted(can.required_fields - {field.name for field in line.fields})
    if missing:
        raise UsageError(
            f"The activation {line.activation} lacks what {destination.name} needs: add {', '.join(missing)} to its fields."
        )
    if line.mode == "mirror" and not can.removes:
        raise UsageError(
            f"The activation {line.activation} mirrors, and {destination.name} cannot remove: use the mode upsert."
        )


class _Planning:
    """One plan in one session."""

    def __init__(
        self,
        planner: WarehousePlanner,
        line: Line,
        session: duckdb.DuckDBPyConnection,
        publication: Publication,
        retry: bool,
    ) -> None:
        self.of = planner
        self.line = line
        self.session = session
        self.publication = publication
        self.retry = retry
        self.source = line.source(publication.as_of, publication.input_hash)

    def plan(self, close: Callable[[], None]) -> Plan:
        members, held_out = self._members()
        self._compute()
        self._refuse_doubles()
        self._remember()
        self._difference()
        self._apply_policy()
        self._add_removals()
        changes = dict(
            self.session.execute("select change, count(*) from planned group by change").fetchall()
        )
        (unchanged,) = self.session.execute(
            "select count(*) from compared where change = 'unchanged'"
        ).fetchone() or (0,)
        held = dict(
            self.session.execute(
                "select code, count(*) from planned where code <> '' group by code order by code"
            ).fetchall()
        )
        added, changed, removed = (int(changes.get(kind, 0)) for kind in ("added", "changed", "removed"))
        facts = Facts(
            home=self.of.home,
            settings=self.of.settings,
            line=self.line,
            publication=self.publication,
            source_rows=members,
            sendable=added + changed + removed - sum(held.values()),
            removed=removed,
            acknowledged=self.of.ledger.acknowledged_count(self.line.ledger_key),
            last=self.of.ledger.last_finished(self.line.ledger_key),
            audience_guard=self.of.audience_guards.get(self.line.audience),
            audience_members=members + held_out,
            now=self.of.now(),
        )
        return Plan(
            source=self.source,
            as_of=self.publication.as_of,
            source_rows=members,
            held_out=held_out,
            added=added,
            changed=changed,
            removed=removed,
            unchanged=int(unchanged),
            held=held,
            objections=objections(facts),
            rows=self._rows,
            close=close,
        )

    def _members(self) -> tuple[int, int]:
        """Make the table `members`; returns those who may be sent and those held out."""
        marts = database.tables(self.session, Place("marts", "main"))
        for needed in ("audience_members", "user_wide", "user_tags"):
            if needed not in marts:
                raise JingxiError(f"The published marts hold no {needed}: run `jingxi run` first.")
        self.wide = frozenset(marts["user_wide"].column_names)
        rank = "rank" if "rank" in marts["audience_members"].column_names else "null::bigint"
        self.session.execute(
            f"create table members as select user_id, entered_date, is_holdout, {rank} as rank "
            "from marts.main.audience_members where audience = ? and as_of_date = ?",
            [self.line.audience, self.publication.as_of],
        )
        counted = self.session.execute(
            "select count(*) filter (where not is_holdout), count(*) filter (where is_holdout) from members"
        ).fetchone() or (0, 0)
        return int(counted[0]), int(counted[1])

    def _value(self, kind: str, source: JsonValue) -> str:
        if kind == "column":
            own = str(source)
            if own in ("user_id", "entered_date"):
                return f"members.{own}"
            if own not in self.wide:
                raise UsageError(
                    f"The activation {self.line.activation} sends the column {own}, which the published user_wide does "
                    "not have: correct the line, or run `jingxi run` first."
                )
            return f"wide.{name(own)}"
        if kind == "tag":
            return (
                f"(select string_agg(coalesce(cast(value as varchar), 'true'), {text(_TAG_SEPARATOR)} order by weight desc "
                f"nulls last, value) from marts.main.user_tags as tags "
                f"where tags.user_id = members.user_id and tags.tag = {text(str(source))})"
            )
        return f"{name('id_' + str(source))}.id"

    def _compute(self) -> None:
        """Make the table `computed`: one row per member with key and fields, hashed; no identifier leaves the key empty."""
        fields = [field for field in self.line.fields if field.kind != "value"]
        constants = {field.name: field.source for field in self.line.fields if field.kind == "value"}
        types = {str(field.source) for field in fields if field.kind == "identifier"}
        if self.line.key != "user_id":
            types.add(self.line.key)
        joins = "".join(
            f" left join (select user_id, first(id order by last_seen_at desc nulls last, id) as id "
            f"from private.main.user_identifiers where id_type = {text(id_type)} group by user_id) as {name('id_' + id_type)} "
            f"on {name('id_' + id_type)}.user_id = members.user_id"
            for id_type in sorted(types)
        )
        if types and "last_seen_at" not in self._identifier_columns():
            joins = joins.replace("last_seen_at desc nulls last, ", "")
        key = "members.user_id" if self.line.key == "user_id" else f"{name('id_' + self.line.key)}.id"
        values = "".join(f", {self._value(field.kind, field.source)}" for field in fields)
        self.session.execute(f"create table computed ({_COMPUTED})")
        found = self.session.cursor().execute(
            f"select members.user_id, {key}{values} from members "
            f"left join marts.main.user_wide as wide on wide.user_id = members.user_id{joins} "
            "where not members.is_holdout order by members.rank nulls last, members.user_id"
        )
        names = [field.name for field in fields]
        place = 0
        while rows := found.fetchmany(CHUNK_ROWS):
            chunk = []
            for user_id, own_key, *own in rows:
                told = {**{n: _json(value) for n, value in zip(names, own, strict=True)}, **constants}
                told = {field.name: told[field.name] for field in self.line.fields}
                chunk.append(
                    (
                        user_id,
                        own_key,
                        json.dumps(told, ensure_ascii=False),
                        self.of.keys.of_key(self.line.key, own_key) if own_key is not None else None,
                        self.of.keys.of_row(told),
                        place,
                    )
                )
                place += 1
            self._insert("computed", ("user_id", "key", "fields", "key_hash", "row_hash", "place"), chunk)

    def _identifier_columns(self) -> Sequence[str]:
        private = database.tables(self.session, Place("private", "main"))
        if "user_identifiers" not in private:
            raise JingxiError("The published private file holds no user_identifiers: run `jingxi run` first.")
        return private["user_identifiers"].column_names

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        values = pa.table(
            dict(zip(columns, (list(column) for column in zip(*rows, strict=True)), strict=True))
        )
        self.session.register("chunk", values)
        self.session.execute(
            f"insert into {table} ({', '.join(columns)}) select {', '.join(columns)} from chunk"
        )
        self.session.unregister("chunk")

    def _refuse_doubles(self) -> None:
        blank, doubled = self.session.execute(
            "select (select count(*) from computed where key is not null and trim(key) = ''), "
            "(select count(*) from (select key_hash from computed where key_hash is not null group by 1 having count(*) > 1))"
        ).fetchone() or (0, 0)
        if blank or doubled:
            what = " and ".join(
                part
                for part in (
                    f"{blank:,} members have a blank {self.line.key}" if blank else "",
                    f"{doubled:,} values of {self.line.key} belong to several members" if doubled else "",
                )
                if part
            )
            raise PlanError(
                f"{self.line.activation} is not sent: {what}. Choose a key that tells people apart, or repair the data."
            )

    def _remember(self) -> None:
        """Make the tables of what the ledger knows: `state` and `left_out`."""
        for table, column, chunks in (
            ("state", "row_hash", self.of.ledger.acknowledged(self.line.ledger_key)),
            ("left_out", "code", self.of.ledger.left_out(self.line.ledger_key, self.source)),
        ):
            self.session.execute(f"create table {table} (key_hash varchar, {column} varchar)")
            for chunk in chunks:
                self._insert(table, ("key_hash", column), chunk)

    def _difference(self) -> None:
        """Make the view `compared`: each member's row with its change and, if it is not tried, the reason.

        A view, so that the rows of a large audience are not held a second time.
        """
        wanted = {"insert": ("added",), "update": ("changed",)}.get(self.line.mode, ("added", "changed"))
        skipped = ("accepted",) if self.retry else ("accepted", "rejected")
        self.session.execute(
            f"""
            create view compared as
            with known as (
                select key_hash, bool_or(code = 'in_doubt') as in_doubt, bool_or(code = 'deferred') as deferred,
                    bool_or(code in ({_listed(skipped)})) as skipped
                from left_out group by key_hash
            ),
            differing as (
                select computed.*, state.row_hash as state_hash,
                    coalesce(known.in_doubt, false) as in_doubt, coalesce(known.deferred, false) as deferred,
                    case
                        when computed.key is null then 'added'
                        when coalesce(known.skipped, false) then 'unchanged'
                        when state.key_hash is null then 'added'
                        when state.row_hash <> computed.row_hash or {text(self.line.mode)} = 'full' then 'changed'
                        else 'unchanged'
                    end as change
                from computed
                left join state on state.key_hash = computed.key_hash
                left join known on known.key_hash = computed.key_hash
            )
            select * exclude (change, in_doubt, deferred),
                case when change in ({_listed(wanted)}) then change else 'unchanged' end as change,
                case
                    when key is null then {text(NO_IDENTIFIER)} when in_doubt then 'in_doubt' when deferred then 'deferred'
                    else ''
                end as code
            from differing
            """
        )

    def _apply_policy(self) -> None:
        """Make the table `planned`, with those held whom the contact policy leaves alone."""
        self.session.execute(
            "create temp table planned_users as select distinct user_id from compared where change <> 'unchanged' and code = ''"
        )
        self.session.execute("create table refused (user_id varchar, reason varchar)")
        chunk: list[tuple[str, str]] = []
        for one in self.of.policy.held(self.session, self.line, self.of.now()):
            chunk.append(one)
            if len(chunk) == CHUNK_ROWS:
                self._insert("refused", ("user_id", "reason"), chunk)
                chunk = []
        self._insert("refused", ("user_id", "reason"), chunk)
        self.session.execute(
            "create table planned as select compared.user_id, compared.key, 'upsert' as operation, compared.fields, "
            "coalesce(compared.key_hash, '') as key_hash, compared.row_hash, compared.change, "
            "case when compared.code <> '' then compared.code else coalesce(refused.reason, '') end as code, compared.place "
            "from compared left join (select user_id, any_value(reason) as reason from refused group by user_id) as refused "
            "on refused.user_id = compared.user_id where compared.change <> 'unchanged'"
        )

    def _add_removals(self) -> None:
        """A line that mirrors takes away whom it sent and who is no member any more, or said no."""
        if self.line.mode != "mirror":
            return
        self.session.execute(
            "create table going as select state.key_hash from state anti join computed using (key_hash) "
            "where key_hash not in (select key_hash from left_out where code in ('accepted', 'rejected'))"
        )
        self.session.execute(
            "update planned set operation = 'remove', change = 'removed', code = '', fields = '{}', row_hash = '' "
            "where list_contains(?, code) and key_hash in (select key_hash from state)",
            [list(REFUSALS)],
        )
        self.session.execute("create table gone_keys (key_hash varchar, user_id varchar, key varchar)")
        (going,) = self.session.execute("select count(*) from going").fetchone() or (0,)
        if not going:
            return
        self._find_keys()
        self.session.execute(
            f"""
            insert into planned
            select coalesce(gone_keys.user_id, ''), gone_keys.key, 'remove', '{{}}', going.key_hash, '', 'removed',
                case
                    when doubtful.key_hash is not null then 'in_doubt'
                    when gone_keys.key is null then {text(KEY_UNKNOWN)}
                    else ''
                end,
                9000000000000 + row_number() over (order by going.key_hash)
            from going
            left join gone_keys on gone_keys.key_hash = going.key_hash
            left join (select distinct key_hash from left_out where code = 'in_doubt') as doubtful
                on doubtful.key_hash = going.key_hash
            """
        )

    def _find_keys(self) -> None:
        """The identifiers behind the hashes that are to be removed: the ledger has only the hashes."""
        wanted = {row[0] for row in self.session.execute("select key_hash from going").fetchall()}
        if self.line.key == "user_id":
            statement, bound = "select user_id, user_id from marts.main.user_wide", []
        else:
            statement = "select user_id, id from private.main.user_identifiers where id_type = ?"
            bound = [self.line.key]
        found = self.session.cursor().execute(statement, bound)
        while rows := found.fetchmany(CHUNK_ROWS):
            hashed = ((self.of.keys.of_key(self.line.key, key), user_id, key) for user_id, key in rows)
            self._insert(
                "gone_keys", ("key_hash", "user_id", "key"), [one for one in hashed if one[0] in wanted]
            )

    def _rows(self) -> Iterator[Sequence[PlannedRow]]:
        found = self.session.cursor().execute(
            "select user_id, key, operation, fields, key_hash, row_hash, code from planned order by place"
        )
        position = 0
        while rows := found.fetchmany(CHUNK_ROWS):
            chunk = []
            for user_id, key, operation, fields, key_hash, row_hash, code in rows:
                chunk.append(
                    PlannedRow(
                        position,
                        user_id,
                        "" if code else key,
                        operation,
                        {} if code else json.loads(fields),
                        key_hash or self.of.keys.of_key("user_id", user_id),
                        row_hash,
                        code,
                    )
                )
                position += 1
            yield chunk


def _listed(words: Sequence[str]) -> str:
    return ", ".join(text(word) for word in words)


def _json(value: Any) -> JsonValue:
    """A value of the warehouse as JSON: days and moments (UTC) in ISO 8601, decimals as numbers where a number holds them."""
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return float(value) if len(value.as_tuple().digits) <= _EXACT_DIGITS else str(value)
        case float():
            return value if value == value and abs(value) != float("inf") else None
        case dt.datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
            return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return [_json(part) for part in value]
        case dict():
            return {str(key): _json(part) for key, part in value.items()}
        case _:
            return str(value)
