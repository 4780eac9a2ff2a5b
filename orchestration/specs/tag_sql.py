"""Active tags as SQL and the tag catalogue: what `jingxi compile` writes from dbt_project/specs/tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestration.specs.catalog import Column, Segment, ValueType
from orchestration.specs.documents import Problem
from orchestration.specs.generated import DBT_NAMES, csv_text, model_header
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.predicates import Names, literal, to_sql, to_sql_boolean
from orchestration.specs.rule_sql import Sources, UserNames
from orchestration.specs.tags import (
    CATEGORY_LABELS,
    FOLDER,
    CaseSpec,
    Tag,
    TagFamilySpec,
    ValueSpec,
    read_tags,
)


class TagNames(UserNames):
    """Names inside the statement that evaluates tags; `days` spells days and moments."""

    def __init__(self, days: Names) -> None:
        self.days = days

    def as_of(self, days: int) -> str:
        """The day that lies some days after as_of."""
        return self.days.as_of(days)

    def moment(self, days: int) -> str:
        """The moment at which that day begins."""
        return self.days.moment(days)

    def later(self, day: str, days: int) -> str:
        """The day some days after another one."""
        return self.days.later(day, days)


_NAMES = TagNames(DBT_NAMES)


def value_column(code: str) -> str:
    """Column of int_tags__evaluated with a tag's value: typed, null when not set."""
    return f"tag__{code}"


def known_column(code: str) -> str:
    """Column of int_tags__evaluated that says whether a tag could be evaluated."""
    return f"known__{code}"


def _value_sql(tag: Tag, names: Names) -> str:
    """The tag's value before validity and missing data are looked at."""
    if tag.rule is not None:
        return to_sql_boolean(tag.rule, names)
    if tag.cases:
        branches = " ".join(f"when {to_sql(rule, names)} then {literal(value)}" for value, rule in tag.cases)
        return f"case {branches} end"
    source = names.column(tag.spec.column or "")
    if tag.values is None:
        return source
    return f"case when {source} in ({', '.join(literal(value) for value in tag.values)}) then {source} end"


def _known_sql(tag: Tag, names: Names) -> str:
    needed = sorted({*tag.spec.needs, *([tag.spec.column] if tag.spec.column else [])})
    return " and ".join(f"{names.column(name)} is not null" for name in needed) or "true"


def _still_valid_sql(tag: Tag, names: Names) -> str | None:
    if tag.spec.validity_days is None:
        return None
    confirmed = names.column(tag.spec.confirmed_by or "")
    return f"coalesce({names.as_of(0)} < {names.later(confirmed, tag.spec.validity_days)}, true)"


def evaluated(tag: Tag, names: Names) -> tuple[str, str]:
    """SQL of a tag's value (typed, null when not set) and of whether it could be evaluated."""
    if tag.is_observed:
        observed, is_known = names.column(f"value__{tag.code}"), names.column(f"seen__{tag.code}")
        if tag.type is ValueType.BOOLEAN:
            # A tag that nobody gave is not set: whether staff looked at the user is not asked.
            return f"coalesce({observed} <> 'false', false)", "true"
        return observed, "true" if tag.spec.by_hand else f"coalesce({is_known}, false)"
    known, valid, value = _known_sql(tag, names), _still_valid_sql(tag, names), _value_sql(tag, names)
    conditions = [condition for condition in (known if known != "true" else None, valid) if condition]
    if tag.type is ValueType.BOOLEAN:
        inner = " and ".join([value, *([valid] if valid else [])])
        value = f"case when {known} then {inner} end" if known != "true" else inner
    elif conditions:
        value = f"case when {' and '.join(conditions)} then {value} end"
    return value, known


# Companion of an observed tag in int_tags__judged → column of int_tags__observed.
_OBSERVED_COLUMNS = {
    "first": "first_on",
    "confirmed": "last_on",
    "expires": "expires_on",
    "evidence": "evidence_count",
    "activity": "last_activity",
}


# What int_tags__observed says of a tag that does not move by itself from one day to the next: all but an interest's weight.
_OBSERVED_FACTS = ("tag", "value", "is_set", *_OBSERVED_COLUMNS.values())


def _pivoted(tags: Sequence[Tag]) -> list[str]:
    """Columns of the pivot."""
    return [f"observed.{part}__{tag.code}" for tag in tags for part in ("value", "seen", *_OBSERVED_COLUMNS)]


def _row_hash(columns: Sequence[str]) -> str:
    return "{{ row_hash([" + ", ".join(f'"{column}"' for column in columns) + "]) }}"


_OBSERVED_HASH = f"sum(cast({_row_hash(_OBSERVED_FACTS)} as decimal(38, 0))) as observed_hash"


def _pivot_sql(tags: Sequence[Tag]) -> str:
    """CTE with one row per user: what int_tags__observed says of each tag, side by side."""
    columns = ["user_id", _OBSERVED_HASH]
    for tag in tags:
        code, holds = tag.code, f"tag = {literal(tag.code)} and is_set"
        value = "value"
        if tag.values is not None:
            value = f"case when value in ({', '.join(literal(v) for v in tag.values)}) then value end"
        columns.append(f"max(case when {holds} then {value} end) as value__{code}")
        columns.append(f"bool_or(tag = {literal(code)}) as seen__{code}")
        columns += [
            f"max(case when {holds} then {column} end) as {prefix}__{code}"
            for prefix, column in _OBSERVED_COLUMNS.items()
        ]
    body = ",\n            ".join(columns)
    return f"""    observed as (
        select
            {body}
        from {{{{ ref('int_tags__observed') }}}}
        where place = 1{_AMONG_CHANGED}
        group by user_id
    ),

"""


_JUDGED_CONFIG = """{{
    config(
        materialized="running", unique_key="user_id", meta={"tombstones": true, "scratch": ["changed"]}
    )
}}
"""
_AMONG_CHANGED = "{% if forward %} and user_id in (select user_id from changed){% endif %}"


def judged_sql(tags: Sequence[Tag], segments: Mapping[str, Segment]) -> str:
    """Model int_tags__judged: every active tag for every user by today's facts.

    Going forward, one pass over the wide table finds the users for whom anything differs from the day held (facts_hash);
    only they are judged and written.
    """
    sources = Sources.of((rule for tag in tags for rule in tag.rules), segments)
    observed = [tag for tag in tags if tag.is_observed]
    by_rule: list[str] = ["users.user_id"]
    by_observation: list[str] = []
    for tag in tags:
        value, known = evaluated(tag, _NAMES)
        columns = by_observation if tag.is_observed else by_rule
        columns.append(f"{value} as {value_column(tag.code)}")
        columns.append(f"{known} as {known_column(tag.code)}")
        columns += [f"users.{name} as {prefix}__{tag.code}" for prefix, name in _declared(tag)]
    if observed:
        by_rule.append("users.observed_hash")
    names = [column.rsplit(" as ", 1)[-1].removeprefix("users.") for column in by_rule]
    held = [name for name in names if name != "observed_hash"]
    held += [column.rsplit(" as ", 1)[-1] for column in by_observation]

    def users(extra: Sequence[str]) -> str:
        joined = ["user_wide.*", *sources.columns(), *extra]
        joins = [
            *sources.joins(),
            *(["left join observed on user_wide.user_id = observed.user_id"] if observed else []),
        ]
        if not joins:
            return "select * from user_wide"
        return (
            f"select\n            {', '.join(joined)}\n        from user_wide\n        "
            + "\n        ".join(joins)
        )

    observed_hash = (
        f"""    observed as (
        select user_id, {_OBSERVED_HASH}
        from {{{{ ref('int_tags__observed') }}}}
        where place = 1
        group by user_id
    ),
"""
        if observed
        else ""
    )
    found_hash = ["observed.observed_hash"] if observed else []
    rule_lines, all_lines = ",\n        ".join(by_rule), ",\n        ".join([*by_rule, *by_observation])
    return (
        model_header("dbt_project/specs/tags/")
        + _JUDGED_CONFIG
        + f"""{{% set forward = is_forward() %}}
{{% set found %}}
with
    user_wide as (select * from {{{{ ref('user_wide') }}}}),
{sources.dbt_imports()}
{observed_hash}
    users as (
        {users(found_hash)}
    ),

    judged as (
        select
        {rule_lines}
        from users
    )

select user_id, {_row_hash(names)} as facts_hash
from judged
{{% endset %}}
{{% set changed %}}
select coalesce(found.user_id, held.user_id) as user_id
from ({{{{ found }}}}) as found
full outer join {{{{ this }}}} as held on found.user_id = held.user_id
where found.facts_hash is distinct from held.facts_hash
{{% endset %}}
with
    {{% if forward %}}
    changed as ({{{{ counted_rows("changed", changed) }}}}),
    {{% endif %}}
    user_wide as (select * from {{{{ ref('user_wide') }}}} where true{_AMONG_CHANGED}),
{sources.dbt_imports()}
{_pivot_sql(observed) if observed else ""}    users as (
        {users([*found_hash, *_pivoted(observed)])}
    ),

    judged as (
        select
        {all_lines}
        from users
    ),

    final as (
        {{% if forward %}}
        select changed.user_id, {", ".join(f"judged.{name}" for name in held[1:]) or "1 as nothing"},
            {_row_hash([f"judged.{name}" for name in names])} as facts_hash,
            cast({{{{ as_of() }}}} as date) as changed_on, judged.user_id is null as is_gone
        from changed
        left join judged on changed.user_id = judged.user_id
        {{% else %}}
        select user_id, {", ".join(held[1:]) or "1 as nothing"},
            {_row_hash(names)} as facts_hash,
            cast({{{{ as_of() }}}} as date) as changed_on
        from judged
        {{% endif %}}
    )

select *
from final
"""
    )


def _keeps(tags: Sequence[Tag]) -> list[Tag]:
    return [tag for tag in tags if tag.spec.empty_result == "keep"]


def _set_value(tag: Tag, table: str) -> str:
    """The value of a tag that is set, as text, else null: a tag of another kind tomorrow fits into the same column."""
    return _text_sql(tag, f"{table}.{value_column(tag.code)}")


def _expires_sql(tag: Tag, table: str = "") -> str:
    """The first day on which the tag no longer holds by itself; null = never."""
    at = f"{table}." if table else ""
    if tag.is_observed:
        return f"{at}expires__{tag.code}"
    if tag.spec.validity_days is None:
        return "cast(null as date)"
    return f"{{{{ add_days('{at}confirmed__{tag.code}', {tag.spec.validity_days}) }}}}"


# The hook empties the day when there is no user any more, and only then: rows deleted there would keep the column of a
# new tag from being added in the same transaction.
_DAYS_CONFIG = """{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="as_of_date",
        full_refresh=false,
        on_schema_change="append_new_columns",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where as_of_date = {{ as_of() }} and not exists (select 1 from {{ ref('int_tags__judged') }}){% endif %}",
        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",
    )
}}
"""


def days_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__days: values of all tags by business day, with what is kept when a rule finds nobody."""
    keeps = _keeps(tags)
    columns = ["judged.user_id", "cast({{ as_of() }} as date) as as_of_date"]
    for tag in tags:
        code, own = tag.code, _set_value(tag, "judged")
        if tag not in keeps:
            columns.append(f"{own} as {value_column(code)}")
            continue
        columns += [
            f"case when found.found__{code} then {own} else kept.{value_column(code)} end as {value_column(code)}",
            f"{own} as raw__{code}",
            f"case when found.found__{code} then {_expires_sql(tag, 'judged')} else kept.until__{code} end as until__{code}",
            f"case when not found.found__{code} and kept.{value_column(code)} is not null then kept.kept__{code} end as kept__{code}",
        ]
    body = ",\n        ".join(columns)
    ctes, joins = "", ""
    if keeps:
        listed = ", ".join(f"count({_set_value(tag, 'judged')}) > 0 as found__{tag.code}" for tag in keeps)
        last = ",\n            ".join(
            f"max(case when raw__{tag.code} is not null then as_of_date end) as kept__{tag.code}"
            for tag in keeps
        )
        held = ",\n            ".join(
            f"max(case when days.as_of_date = last_days.kept__{tag.code} and coalesce({{{{ as_of() }}}} < days.until__{tag.code}, true) "
            f"then days.raw__{tag.code} end) as {value_column(tag.code)}, max(last_days.kept__{tag.code}) as kept__{tag.code}, "
            f"max(case when days.as_of_date = last_days.kept__{tag.code} then days.until__{tag.code} end) as until__{tag.code}"
            for tag in keeps
        )
        nothing = ",\n            ".join(
            f"{_set_value(tag, 'judged')} as {value_column(tag.code)}, {{{{ as_of() }}}} as kept__{tag.code}, "
            f"cast(null as date) as until__{tag.code}"
            for tag in keeps
        )
        ctes = f"""
    -- Whether the rule finds anybody today.
    found as (
        select {listed}
        from judged
    ),

{{% if is_incremental() and var("history_days") > 1 %}}
    -- The last day inside the window that every run fills on which it found somebody.
    last_days as (
        select
            {last}
        from {{{{ this }}}}
        where as_of_date between {{{{ add_days(as_of(), 1 - var("history_days")) }}}} and {{{{ add_days(as_of(), -1) }}}}
    ),

    kept as (
        select
            days.user_id,
            {held}
        from {{{{ this }}}} as days
        cross join last_days
        where days.as_of_date in ({", ".join(f"last_days.kept__{tag.code}" for tag in keeps)})
        group by days.user_id
    ),
{{% else %}}
    kept as (
        select
            user_id,
            {nothing}
        from judged
        where false
    ),
{{% endif %}}
"""
        joins = "\n        cross join found\n        left join kept on judged.user_id = kept.user_id"
    return (
        _DAYS_CONFIG
        + model_header("dbt_project/specs/tags/")
        + f"""with
    judged as (select * from {{{{ ref('int_tags__judged') }}}}),
{ctes}
    final as (
        select
        {body}
        from judged{joins}
    )

select *
from final
"""
    )


def evaluated_sql(tags: Sequence[Tag], wide: Mapping[str, Column]) -> str:
    """Model int_tags__evaluated: int_tags__judged with what is kept from an earlier day; what other models read."""
    keeps = _keeps(tags)
    if not keeps:
        return (
            '{{ config(materialized="view") }}\n'
            + model_header("dbt_project/specs/tags/")
            + "-- depends_on: {{ ref('int_tags__days') }}\n"
            "select *\nfrom {{ ref('int_tags__judged') }}\n"
        )
    columns = ["judged.user_id"]
    for tag in tags:
        code, has = tag.code, dict(_declared(tag))
        prefixes = [prefix for prefix in has if prefix not in ("confirmed", "expires")]
        if tag not in keeps:
            columns += [f"judged.{value_column(code)}", f"judged.{known_column(code)}"]
            columns += [f"judged.{prefix}__{code}" for prefix in has]
            continue
        kept, value = f"days.kept__{code} is not null", f"days.{value_column(code)}"
        if tag.type is ValueType.BOOLEAN:
            value = f"case when {value} = 'true' then true else judged.{value_column(code)} end"
        elif tag.type is not ValueType.TEXT:
            typed = f"cast({value} as {wide[tag.spec.column or ''].sql_type})"
            value = f"coalesce(judged.{value_column(code)}, {typed})"
        confirmed = f"judged.confirmed__{code}" if "confirmed" in has else "cast(null as date)"
        columns += [
            f"{value} as {value_column(code)}",
            f"judged.{known_column(code)} or {kept} as {known_column(code)}",
            f"coalesce(days.kept__{code}, {confirmed}) as confirmed__{code}",
            f"days.kept__{code}",
        ]
        if tag.has_expiry:
            columns.append(f"days.until__{code} as expires__{code}")
        columns += [f"judged.{prefix}__{code}" for prefix in prefixes]
    body = ",\n        ".join(columns)
    return (
        '{{ config(materialized="view") }}\n'
        + model_header("dbt_project/specs/tags/")
        + f"""with
    judged as (select * from {{{{ ref('int_tags__judged') }}}}),
    days as (select * from {{{{ ref('int_tags__days') }}}} where as_of_date = {{{{ as_of() }}}}),

    final as (
        select
        {body}
        from judged
        left join days on judged.user_id = days.user_id
    )

select *
from final
"""
    )


# A project without tags keeps its marts, empty.
_NO_TAGS_SET = """        select
            user_id,
            '' as tag,
            '' as tag_value,
            cast(1 as double) as weight,
            cast(null as date) as first_on,
            {{ as_of() }} as last_confirmed_on,
            cast(null as date) as expires_on,
            cast(1 as bigint) as evidence_count,
            cast(null as varchar) as last_activity
        from evaluated
        where false"""
_NO_TAGS_COUNTED = """        select '' as tag, 0 as users_count, 0 as set_count, 0 as not_set_count, 0 as not_evaluable_count, cast(null as date) as kept_from_date
        from evaluated
        where false"""
_NO_TAGS_MOVED = """        select user_id, '' as tag, '' as old_value, '' as new_value, false as is_known, false as is_user, false as has_expired, cast(null as date) as kept_on
        from pairs
        where false"""


def _declared(tag: Tag) -> list[tuple[str, str]]:
    spec = tag.spec
    if tag.is_observed:
        return [(prefix, f"{prefix}__{tag.code}") for prefix in _OBSERVED_COLUMNS]
    pairs = [
        ("first", spec.first_set_by),
        ("confirmed", spec.confirmed_by),
        ("evidence", spec.evidence),
        ("weight", spec.weight),
    ]
    return [(prefix, name) for prefix, name in pairs if name]


def _text_sql(tag: Tag, column: str) -> str:
    if tag.type is ValueType.BOOLEAN:
        return f"case when {column} then 'true' end"
    return f"cast({column} as {{{{ dbt.type_string() }}}})"


# First of the days back from as_of that int_tags__days holds without a gap, inside the window that every run fills.
_WINDOW_START = """select coalesce(min(as_of_date), {{ as_of() }}) as first_day
        from (
            select as_of_date, row_number() over (order by as_of_date desc nulls last) as day_number
            from (select distinct as_of_date from {{ ref('int_tags__days') }}) as days
            where as_of_date between {{ add_days(as_of(), 1 - var('history_days')) }} and {{ as_of() }}
        ) as numbered
        where {{ days_between('as_of_date', as_of()) }} = day_number - 1"""


def _is_set(tag: Tag) -> str:
    column = value_column(tag.code)
    return column if tag.type is ValueType.BOOLEAN else f"{column} is not null"


# A day of the window that the day held may have begun with is not before this one.
_WINDOW_HELD = "{{ add_days(forward_from(), 1 - var('history_days')) }}"


def _carry_sql(tags: Sequence[Tag]) -> str:
    """Statements that take the rows of users of whom nothing changed to another day, column by column.

    Three columns move by themselves: a tag without a declared last fact is confirmed on the day, one without a declared
    first fact is set at the earliest since the first day of the window, and interests fade. Rows that have such a day for
    a fact of their own move along and are written again afterwards: see _touched_sql.
    """
    window = f"(select {{{{ day_start('first_day') }}}} from ({_WINDOW_START}) as window_start)"
    statements = [
        "update {{ this }} set last_confirmed_at = {{ day_start(as_of()) }} "
        "where last_confirmed_at = {{ day_start(forward_from()) }}",
        f"update {{{{ this }}}} set first_set_at = least({window}, last_confirmed_at) "
        "where first_set_at >= {{ day_start(add_days(forward_from(), 1 - var('history_days'))) }} "
        f"and first_set_at < {window}",
    ]
    if interests := [literal(tag.code) for tag in tags if tag.spec.interest is not None]:
        statements.append(
            "merge into {{ this }} as held using (select user_id, tag, weight from {{ ref('int_tags__observed') }} "
            f"where place = 1 and is_set and tag in ({', '.join(interests)})) as faded "
            "on held.user_id = faded.user_id and held.tag = faded.tag "
            "when matched then update set weight = faded.weight"
        )
    return "; ".join(" ".join(statement.split()) for statement in statements)


def _touched_sql(tags: Sequence[Tag]) -> str:
    """Users whose rows of user_tags are written again: judged otherwise, with a day that moves along though it is a
    fact's, with kept values, gone."""
    declared = [(prefix, tag.code) for tag in tags for prefix, _ in _declared(tag)]
    moving = ["changed_on > {{ forward_from() }}"]
    moving += [
        f"confirmed__{code} = {{{{ forward_from() }}}}" for prefix, code in declared if prefix == "confirmed"
    ]
    # The first day is not later than the last: one that lies ahead moves with the days.
    moving += [
        f"first__{code} > {{{{ forward_from() }}}} or (first__{code} >= {_WINDOW_HELD} and first__{code} < first_day)"
        for prefix, code in declared
        if prefix == "first"
    ]
    parts = [
        f"select user_id from {{{{ ref('int_tags__judged') }}}} cross join ({_WINDOW_START}) as window_start where "
        + " or ".join(moving),
        "select user_id from {{ this }} as held where not exists "
        "(select 1 from {{ ref('int_tags__judged') }} as judged where judged.user_id = held.user_id)",
    ]
    if keeps := _keeps(tags):
        parts.append(
            "select user_id from {{ ref('int_tags__days') }} where as_of_date in ({{ as_of() }}, {{ forward_from() }}) and ("
            + " or ".join(f"kept__{tag.code} is not null" for tag in keeps)
            + ")"
        )
        # A day held that int_tags__days has dropped since does not say whose values were kept on it.
        parts.append(
            "select user_id from {{ ref('int_tags__judged') }} where not exists "
            "(select 1 from {{ ref('int_tags__days') }} where as_of_date = {{ forward_from() }})"
        )
    return "\nunion\n".join(parts)


def user_tags_sql(tags: Sequence[Tag]) -> str:
    """Model user_tags: one row per user and tag that is set."""
    parts = []
    for tag in tags:
        has = dict(_declared(tag))
        column, code = value_column(tag.code), tag.code
        can_confirm = "confirmed" in has or tag.spec.empty_result == "keep"
        confirmed = f"coalesce(confirmed__{code}, {{{{ as_of() }}}})" if can_confirm else "{{ as_of() }}"
        kept = tag.spec.empty_result == "keep" and tag.has_expiry
        expires = f"expires__{code}" if kept else _expires_sql(tag)
        parts.append(
            f"""        select
            user_id,
            {literal(code)} as tag,
            {_text_sql(tag, column)} as tag_value,
            {f"coalesce(cast(weight__{code} as double), 1)" if "weight" in has else "cast(1 as double)"} as weight,
            {f"first__{code}" if "first" in has else "cast(null as date)"} as first_on,
            {confirmed} as last_confirmed_on,
            {expires} as expires_on,
            {f"coalesce(cast(evidence__{code} as bigint), 1)" if "evidence" in has else "cast(1 as bigint)"} as evidence_count,
            {f"activity__{code}" if "activity" in has else "cast(null as varchar)"} as last_activity
        from evaluated
        where {_is_set(tag)}"""
        )
    union = "\n        union all\n".join(parts or [_NO_TAGS_SET])
    among = "{% if forward %} where user_id in (select user_id from touched){% endif %}"
    interests = ", ".join(literal(tag.code) for tag in tags if tag.spec.interest is not None) or "''"
    return (
        model_header("dbt_project/specs/tags/")
        + f"""{{{{
    config(
        materialized="running",
        unique_key="user_id",
        pre_hook="{{% if is_forward() %}}{_carry_sql(tags)}{{% endif %}}",
        meta={{"tombstones": true, "scratch": ["touched"]}},
    )
}}}}
-- depends_on: {{{{ ref('int_tags__judged') }}}}
{{% set forward = is_forward() %}}
{{% set touched %}}
{_touched_sql(tags)}
{{% endset %}}
with
    {{% if forward %}}
    touched as ({{{{ counted_rows("touched", touched) }}}}),
    {{% endif %}}
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}{among}),

    history as (select * from {{{{ ref('user_tag_history') }}}}{among}),

    interests as (
        select user_id, tag, weight
        from {{{{ ref('int_tags__observed') }}}}
        where place = 1 and is_set and tag in ({interests})
    ),

    set_tags as (
{union}
    ),

    window_start as (
        {_WINDOW_START}
    ),

    set_days as (
        select history.user_id, history.tag, max(history.as_of_date) as set_on
        from history
        cross join window_start
        where history.change = 'set' and history.as_of_date > window_start.first_day and history.as_of_date <= {{{{ as_of() }}}}
        group by history.user_id, history.tag
    ),

    dated as (
        select
            set_tags.*,
            interests.weight as interest_weight,
            -- A first day after the last one would be a contradiction in the data; the earlier of both is safe.
            least(
                coalesce(set_tags.first_on, set_days.set_on, window_start.first_day), set_tags.last_confirmed_on
            ) as first_set_on
        from set_tags
        cross join window_start
        left join set_days on set_tags.user_id = set_days.user_id and set_tags.tag = set_days.tag
        left join interests on set_tags.user_id = interests.user_id and set_tags.tag = interests.tag
    ),

    rows_of_users as (
        select
            user_id,
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast(tag_value as {{{{ dbt.type_string() }}}}) as value,
            coalesce(interest_weight, weight) as weight,
            {{{{ day_start('first_set_on') }}}} as first_set_at,
            {{{{ day_start('last_confirmed_on') }}}} as last_confirmed_at,
            {{{{ day_start('expires_on') }}}} as expires_at,
            evidence_count,
            cast(last_activity as {{{{ dbt.type_string() }}}}) as last_activity
        from dated
    ),

    final as (
        {{% if forward %}}
        -- Who has no tag any more only loses the rows of the day held.
        select
            touched.user_id,
            own.tag,
            own.value,
            own.weight,
            own.first_set_at,
            own.last_confirmed_at,
            own.expires_at,
            own.evidence_count,
            own.last_activity,
            own.tag is null as is_gone
        from touched
        left join rows_of_users as own on touched.user_id = own.user_id
        {{% else %}}
        select * from rows_of_users
        {{% endif %}}
    )

select *
from final
"""
    )


_HISTORY_CONFIG = _DAYS_CONFIG.replace(
    " and not exists (select 1 from {{ ref('int_tags__judged') }})", ""
).replace(
    """        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",
""",
    """        meta={"by_date": "as_of_date"},
""",
)


def history_sql(tags: Sequence[Tag]) -> str:
    """Model user_tag_history: one row per user, tag and day on which the tag was set, changed, cleared or expired.

    Two neighbouring days stand side by side, one row per user; only rows in which a tag moved are written.
    """
    parts, selected = [], ""
    for tag in tags:
        code, column = tag.code, value_column(tag.code)
        expired = "false"
        if tag.spec.interest is not None:
            expired = f"coalesce(today.{known_column(code)}, false)"
        elif tag.is_observed and tag.spec.validity_days is not None:
            expired = f"coalesce(today.{known_column(code)}, false) and today.{column} is null"
        elif tag.has_expiry:
            expired = f"coalesce({_expires_sql(tag, 'today')} <= {{{{ as_of() }}}}, false)"
        kept = f"kept__{code}" if tag.spec.empty_result == "keep" else "cast(null as date)"
        selected += (
            f",\n            earlier.{column} as old__{code}, later.{column} as new__{code}, "
            f"coalesce(today.{known_column(code)}, false) as {known_column(code)}, {expired} as expired__{code}"
        )
        if tag.spec.empty_result == "keep":
            selected += f", later.{kept}"
        parts.append(
            f"""        select
            user_id,
            {literal(code)} as tag,
            old__{code} as old_value,
            new__{code} as new_value,
            {known_column(code)} as is_known,
            is_user,
            expired__{code} as has_expired,
            {kept} as kept_on
        from pairs
        where old__{code} is distinct from new__{code}"""
        )
    union = "\n        union all\n".join(parts or [_NO_TAGS_MOVED])
    moves = " or ".join(
        f"earlier.{value_column(tag.code)} is distinct from later.{value_column(tag.code)}" for tag in tags
    )
    return (
        _HISTORY_CONFIG
        + model_header("dbt_project/specs/tags/")
        + f"""with
    days as (select * from {{{{ ref('int_tags__days') }}}}),

    today as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    -- Only a day inside the window that every run fills is looked at, and only where there is one.
    later as (
        select *
        from days
        where
            as_of_date = {{{{ as_of() }}}}
            and {{{{ var("history_days") }}}} > 1
            and exists (select 1 from days where as_of_date = {{{{ add_days(as_of(), -1) }}}})
    ),

    earlier as (
        select * from days where as_of_date = {{{{ add_days(as_of(), -1) }}}} and {{{{ var("history_days") }}}} > 1
    ),

    pairs as (
        select
            coalesce(later.user_id, earlier.user_id) as user_id,
            today.user_id is not null as is_user{selected}
        from later
        full outer join earlier on later.user_id = earlier.user_id
        left join today on later.user_id = today.user_id
        where {moves or "false"}
    ),

    moved as (
{union}
    ),

    final as (
        select
            cast(user_id as {{{{ dbt.type_string() }}}}) as user_id,
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast({{{{ as_of() }}}} as date) as as_of_date,
            cast(
                case
                    when old_value is null
                    then 'set'
                    when new_value is not null
                    then 'changed'
                    when has_expired
                    then 'expired'
                    else 'cleared'
                end as {{{{ dbt.type_string() }}}}
            ) as change,
            cast(old_value as {{{{ dbt.type_string() }}}}) as previous_value,
            cast(new_value as {{{{ dbt.type_string() }}}}) as value,
            cast(
                case
                    when kept_on is not null
                    then 'kept'
                    when old_value is null
                    then 'rule_holds'
                    when new_value is not null
                    then 'other_value'
                    when not is_user
                    then 'user_gone'
                    when has_expired
                    then 'not_confirmed'
                    when not is_known
                    then 'no_data'
                    else 'rule_no_longer_holds'
                end as {{{{ dbt.type_string() }}}}
            ) as reason
        from moved
    )

select *
from final
"""
    )


def coverage_sql(tags: Sequence[Tag]) -> str:
    """Model tag_coverage: one row per active tag, users counted as set, not set, not evaluable, in one pass."""
    parts, counts = [], ["count(*) as users_count"]
    for tag in tags:
        code, known = tag.code, known_column(tag.code)
        kept = tag.spec.empty_result == "keep"
        counts += [
            f"count(case when {_is_set(tag)} then 1 end) as set__{code}",
            f"count(case when {known} and not coalesce({_is_set(tag)}, false) then 1 end) as not_set__{code}",
            f"count(case when not {known} then 1 end) as not_evaluable__{code}",
            *([f"max(kept__{code}) as kept__{code}"] if kept else []),
        ]
        parts.append(
            f"        select {literal(code)} as tag, users_count, set__{code} as set_count, not_set__{code} as not_set_count, "
            f"not_evaluable__{code} as not_evaluable_count, {f'kept__{code}' if kept else 'cast(null as date)'} as kept_from_date\n"
            "        from counts"
        )
    listed = ",\n            ".join(counts)
    union = "\n        union all\n".join(parts or [_NO_TAGS_COUNTED])
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    counts as (
        select
            {listed}
        from evaluated
    ),

    counted as (
{union}
    ),

    final as (
        select
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            {{{{ as_of() }}}} as as_of_date,
            cast(users_count as bigint) as users_count,
            cast(set_count as bigint) as set_count,
            cast(not_set_count as bigint) as not_set_count,
            cast(not_evaluable_count as bigint) as not_evaluable_count,
            cast(kept_from_date as date) as kept_from_date
        from counted
    )

select *
from final
"""
    )


def value_counts_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__value_counts: users by tag and value on as_of and on the day it is compared with."""
    parts = [
        f"        select {literal(tag.code)} as tag, as_of_date, {value_column(tag.code)} as value, "
        "count(*) as users_count, count(case when has_ordered_since then 1 end) as ordered_count\n"
        "        from days\n"
        f"        group by as_of_date, {value_column(tag.code)}"
        for tag in tags
    ] or [
        "        select '' as tag, as_of_date, '' as value, 0 as users_count, 0 as ordered_count from days where false"
    ]
    union = "\n        union all\n".join(parts)
    selected = "".join(f",\n            days.{value_column(tag.code)}" for tag in tags)
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    all_days as (select * from {{{{ ref('int_tags__days') }}}}),

    user_wide as (select * from {{{{ ref('user_wide') }}}}),

    -- Days back from as_of without a gap, inside the window that every run fills.
    numbered as (
        select as_of_date, row_number() over (order by as_of_date desc nulls last) as day_number
        from (select distinct as_of_date from all_days) as held
        where
            as_of_date between {{{{ add_days(as_of(), 1 - var("history_days")) }}}} and {{{{ as_of() }}}}
            and as_of_date >= {{{{ add_days(as_of(), -30) }}}}
    ),

    compared_with as (
        select coalesce(min(as_of_date), {{{{ as_of() }}}}) as first_day
        from numbered
        where {{{{ days_between("as_of_date", as_of()) }}}} = day_number - 1
    ),

    days as (
        select
            days.as_of_date,
            coalesce(user_wide.last_order_date > days.as_of_date, false) as has_ordered_since{selected}
        from all_days as days
        cross join compared_with
        left join user_wide on days.user_id = user_wide.user_id
        where days.as_of_date = {{{{ as_of() }}}} or days.as_of_date = compared_with.first_day
    ),

    counted as (
{union}
    ),

    final as (
        select
            cast(counted.tag as {{{{ dbt.type_string() }}}}) as tag,
            counted.as_of_date,
            cast(counted.value as {{{{ dbt.type_string() }}}}) as value,
            cast(counted.users_count as bigint) as users_count,
            cast(counted.ordered_count as bigint) as ordered_count,
            compared_with.first_day as compared_with_date
        from counted
        cross join compared_with
    )

select *
from final
"""
    )


def askable_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__askable: what is known of users about the tags that one can ask for."""
    asked = [tag for tag in tags if tag.spec.ask is not None]
    parts = [
        f"        select user_id, {literal(tag.code)} as tag, {_set_value(tag, 'evaluated')} as value, "
        f"{known_column(tag.code)} as is_known\n        from evaluated"
        for tag in asked
    ] or ["        select user_id, '' as tag, '' as value, false as is_known from evaluated where false"]
    union = "\n        union all\n".join(parts)
    return (
        '{{ config(materialized="view") }}\n'
        + model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    final as (
{union}
    )

select *
from final
"""
    )


# --- catalogue -------------------------------------------------------------------------------------------


_DEFINITION_FIELDS = (
    "tag",
    "title_zh",
    "title_en",
    "category",
    "category_zh",
    "category_en",
    "family",
    "family_zh",
    "family_en",
    "description",
    "value_type",
    "rule",
    "rule_hash",
    "source",
    "validity_days",
    "refresh",
    "owner",
    "status",
    "parent",
    "empty_result",
    "evidence",
    "ask_zh",
    "ask_en",
)


def definitions_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tag catalogue."""
    rows = []
    for tag in tags:
        category = CATEGORY_LABELS[tag.family.category]
        rows.append(
            {
                "tag": tag.code,
                "title_zh": tag.spec.title.zh,
                "title_en": tag.spec.title.en,
                "category": tag.family.category,
                "category_zh": category[0],
                "category_en": category[1],
                "family": tag.family.family,
                "family_zh": tag.family.title.zh,
                "family_en": tag.family.title.en,
                "description": " ".join(tag.spec.description.split()),
                "value_type": tag.value_type,
                "rule": tag.words,
                "rule_hash": tag.rule_hash,
                "source": tag.source,
                "validity_days": "" if tag.spec.validity_days is None else str(tag.spec.validity_days),
                "refresh": "daily",
                "owner": tag.spec.owner or tag.family.owner,
                "status": tag.spec.status,
                "parent": tag.spec.parent or "",
                "empty_result": tag.spec.empty_result,
                "evidence": tag.source if tag.is_observed else tag.spec.evidence or "",
                "ask_zh": tag.spec.ask.zh if tag.spec.ask else "",
                "ask_en": tag.spec.ask.en if tag.spec.ask else "",
            }
        )
    return csv_text(_DEFINITION_FIELDS, rows)


_SOURCE_FIELDS = ("tag", "kind", "dimension", "question", "half_life_days", "floor", "top", "validity_days")


def sources_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tags that int_tags__observed computes: interests, answers and what staff set."""
    rows = []
    for tag in tags:
        if not tag.is_observed:
            continue
        interest = tag.spec.interest
        rows.append(
            {
                "tag": tag.code,
                "kind": "interest" if interest else "question" if tag.spec.question else "by_hand",
                "dimension": interest.dimension if interest else "",
                "question": tag.spec.question or "",
                "half_life_days": str(interest.half_life_days) if interest else "",
                "floor": str(interest.floor) if interest else "",
                "top": str(interest.top) if interest else "",
                "validity_days": str(tag.spec.validity_days or ""),
            }
        )
    return csv_text(_SOURCE_FIELDS, rows)


def values_csv(tags: Sequence[Tag]) -> str:
    """Seed of the values that tags can take: one row per value of an enumerated tag, one for a yes/no tag."""
    rows = []
    for tag in tags:
        labelled: Sequence[CaseSpec | ValueSpec] = tag.spec.cases or tag.spec.values or ()
        entries = [(entry.value, entry.title) for entry in labelled]
        if tag.type is ValueType.BOOLEAN:
            entries = [("true", tag.spec.title)]
        for position, (value, title) in enumerate(entries, start=1):
            rows.append(
                {
                    "tag": tag.code,
                    "value": value,
                    "position": str(position),
                    "title_zh": title.zh,
                    "title_en": title.en,
                }
            )
    return csv_text(("tag", "value", "position", "title_zh", "title_en"), rows)


def _check(project: Project) -> list[Problem]:
    return read_tags(project)[1]


def _compile(project: Project) -> dict[str, str]:
    tags = list(read_tags(project)[0].values())
    active = [tag for tag in tags if tag.is_active]
    return {
        "dbt_project/models/intermediate/tags/int_tags__judged.sql": judged_sql(active, project.segments),
        "dbt_project/models/intermediate/tags/int_tags__days.sql": days_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__evaluated.sql": evaluated_sql(
            active, project.columns
        ),
        "dbt_project/models/marts/tags/user_tags.sql": user_tags_sql(active),
        "dbt_project/models/marts/tags/user_tag_history.sql": history_sql(active),
        "dbt_project/models/marts/tags/tag_coverage.sql": coverage_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__value_counts.sql": value_counts_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__askable.sql": askable_sql(active),
        "seeds/catalog/catalog_tag_definitions.csv": definitions_csv(tags),
        "seeds/catalog/catalog_tag_values.csv": values_csv(tags),
        "seeds/catalog/catalog_tag_sources.csv": sources_csv(active),
    }


KIND: Kind[TagFamilySpec] = Kind(FOLDER, TagFamilySpec, lambda spec: spec.family, _check, _compile)
