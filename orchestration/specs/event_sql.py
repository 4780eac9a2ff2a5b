"""Conditions on activities as SQL: one pass over the activities answers all questions of all tags and audiences.

Every different question is one column, named after what it asks (`counted_column`), so that rules which ask the same
share it. Counts and first or last values are conditional aggregates of one grouping by user; most frequent values
group once more per column asked for; a sequence is an ordered funnel (`funnel_sql`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestration.specs.activities import ATTRIBUTES, EVENT_COLUMNS
from orchestration.specs.funnel_sql import sequence_sql
from orchestration.specs.generated import DBT_NAMES, model_header
from orchestration.specs.predicates import (
    Counted,
    Did,
    Event,
    InOrder,
    InTop,
    Names,
    Pick,
    columns_in,
    counted_column,
    events_of,
    literal,
    to_sql,
)

MODEL = "int_conditions__evaluated"
RESULT = "counted"  # the last CTE: user_id, and one column per question
_FILE = f"dbt_project/models/intermediate/conditions/{MODEL}.sql"
_OF_STREAM = ("user_id", "activity", "occurred_at", "activity_date")


class _ActivityNames(Names):
    def column(self, name: str) -> str:
        return name


_ACTIVITY_NAMES = _ActivityNames()


def columns_of_activities(counted: Iterable[Counted]) -> list[str]:
    """Columns of the activities that the questions read, besides user, name and moment."""
    asked = list(counted)
    named = {
        name
        for question in asked
        for event in events_of(question)
        if event.where is not None
        for name in columns_in(event.where)
    }
    for question in asked:
        if isinstance(question, Pick):
            named.add(question.column)
        elif isinstance(question, InTop):
            named.add(question.pick.column)
    return [name for name in EVENT_COLUMNS if name in named]


def needed_rows(counted: Iterable[Counted], names: Names) -> str:
    """SQL: which activities some question reads at all, by name and day."""
    days: dict[str, int | None] = {}
    for question in counted:
        for event in events_of(question):
            for activity in event.activities:
                before = days.get(activity, 0)
                days[activity] = None if before is None or event.days is None else max(before, event.days)
    ever = sorted(activity for activity, since in days.items() if since is None)
    since = {activity: n for activity, n in days.items() if n is not None}
    parts = [f"activity in ({_texts(ever)})"] if ever else []
    if since:
        parts.append(f"(activity in ({_texts(sorted(since))}) and {_lately(max(since.values()), names)})")
    return f"({' or '.join(parts)})" if parts else "false"


def counted_ctes(
    counted: Sequence[Counted], names: Names, relation: str = "activities"
) -> list[tuple[str, str]]:
    """CTEs (name, select) that answer all questions from `relation`; the last one is `RESULT`."""
    columns, joins = ["users.user_id"], []
    answers = []
    ctes: list[tuple[str, str]] = []
    for question in counted:
        column = counted_column(question)
        if isinstance(question, Did):
            answers.append(f"{_did(question, names)} as {column}")
        elif isinstance(question, Pick) and question.which != "most_frequent":
            value, by = question.column, "min_by" if question.which == "first" else "max_by"
            which = f"{_match(question.event, names)} and {value} is not null"
            answers.append(f"{by}({value}, (occurred_at, {value})) filter (where {which}) as {column}")
        elif isinstance(question, InOrder):
            steps = [(step.activities, f"({_match(step, names)})") for step in question.steps]
            ctes.append((f"{column}__users", sequence_sql(relation, steps, question.days_apart)))
            columns.append(f"{column}__users.user_id is not null as {column}")
            joins.append(f"left join {column}__users on {column}__users.user_id = users.user_id")
            continue
        else:
            continue
        columns.append(f"users.{column}")
    for pick, asked in _frequent(counted).items():
        name = counted_column(pick)
        ctes += _places(pick, asked, names, relation)
        columns += [f"{name}__users.{counted_column(question)}" for question in asked]
        joins.append(f"left join {name}__users on {name}__users.user_id = users.user_id")
    listed = "".join(f",\n    {answer}" for answer in answers)
    users = ("event_users", f"select\n    user_id{listed}\nfrom {relation}\ngroup by user_id")
    joined = "".join(f"\n{join}" for join in joins)
    result = "select\n    " + ",\n    ".join(columns) + f"\nfrom event_users as users{joined}"
    return [users, *ctes, (RESULT, result)]


def _frequent(counted: Sequence[Counted]) -> dict[Pick, list[Counted]]:
    """The most frequent values that are asked for, with the questions on each."""
    found: dict[Pick, list[Counted]] = {}
    for question in counted:
        if isinstance(question, InTop):
            found.setdefault(question.pick, []).append(question)
        elif isinstance(question, Pick) and question.which == "most_frequent":
            found.setdefault(question, []).append(question)
    return found


def _places(pick: Pick, asked: Sequence[Counted], names: Names, relation: str) -> list[tuple[str, str]]:
    name = counted_column(pick)
    times = (
        f"select user_id, {pick.column} as value, count(*) as times, max(occurred_at) as last_at\nfrom {relation}\n"
        f"where {_match(pick.event, names)} and {pick.column} is not null\ngroup by user_id, {pick.column}"
    )
    places = (
        "select user_id, value, row_number() over (\n    partition by user_id\n"
        "    order by times desc nulls last, last_at desc nulls last, value asc nulls last\n) as place\n"
        f"from {name}__times"
    )
    answers = []
    for question in asked:
        if isinstance(question, InTop):
            which = f"place <= {question.places} and value in ({_texts(question.values)})"
            answer = f"max(case when {which} then 1 else 0 end) = 1"
        else:
            answer = "max(case when place = 1 then value end)"
        answers.append(f",\n    {answer} as {counted_column(question)}")
    users = f"select\n    user_id{''.join(answers)}\nfrom {name}__places\ngroup by user_id"
    return [(f"{name}__times", times), (f"{name}__places", places), (f"{name}__users", users)]


def _did(question: Did, names: Names) -> str:
    which = _match(question.event, names)
    if question.unless_after is not None:
        last = f"max(case when {which} then occurred_at end)"
        later = f"max(case when {_match(question.unless_after, names)} then occurred_at end)"
        return f"{last} is not null and coalesce({last} > {later}, true)"
    if question.at_least == 1:
        return f"max(case when {which} then 1 else 0 end) = 1"
    return f"sum(case when {which} then 1 else 0 end) >= {question.at_least}"


def _match(event: Event, names: Names) -> str:
    sql = f"activity in ({_texts(event.activities)})"
    if event.days is not None:
        sql += f" and {_lately(event.days, names)}"
    return sql if event.where is None else f"{sql} and {to_sql(event.where, _ACTIVITY_NAMES)}"


def _lately(days: int, names: Names) -> str:
    return f"activity_date between {names.as_of(1 - days)} and {names.as_of(0)}"


def _texts(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)


def model_files(counted: Sequence[Counted]) -> dict[str, str]:
    """The model that holds the answers for every user who did something: path from the project's root → text."""
    used = columns_of_activities(counted)
    tables = dict.fromkeys(ATTRIBUTES[name][0] for name in used if name in ATTRIBUTES)
    keys = {table: key for table, _, key, _ in ATTRIBUTES.values()}
    columns = [f"stream.{name}" for name in _OF_STREAM]
    columns += [
        f"{ATTRIBUTES[name][0]}.{ATTRIBUTES[name][1]} as {name}" if name in ATTRIBUTES else f"stream.{name}"
        for name in used
    ]
    joins = "".join(
        f"\nleft join {table} on {table}.{keys[table]} = stream.{keys[table]}" for table in tables
    )
    imports = [
        ("stream", "select *\nfrom {{ ref('int_activity') }}\nwhere " + needed_rows(counted, DBT_NAMES))
    ]
    imports += [(table, f"select * from {{{{ ref('stg_raw__{table}') }}}}") for table in tables]
    activities = ("activities", "select\n    " + ",\n    ".join(columns) + f"\nfrom stream{joins}")
    ctes = [*imports, activities, *counted_ctes(counted, DBT_NAMES)]
    body = ",\n\n".join(f"    {name} as (\n{_indented(sql)}\n    )" for name, sql in ctes)
    source = "dbt_project/specs/"
    return {_FILE: model_header(source) + f"with\n{body}\n\nselect *\nfrom {RESULT}\n"}


def _indented(sql: str) -> str:
    return "\n".join(f"        {line}" if line else "" for line in sql.split("\n"))
