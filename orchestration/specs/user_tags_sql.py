"""Model user_tags: the tags of each user, taken from one day to another."""

from __future__ import annotations

from collections.abc import Sequence

from orchestration.specs.generated import model_header
from orchestration.specs.predicates import literal
from orchestration.specs.tag_rules import (
    WINDOW_START,
    expires_sql,
    kept_tags,
    named_facts,
    stacked_sql,
    text_sql,
    value_column,
)
from orchestration.specs.tags import Tag

# A day of the window that the day held may have begun with is not before this one.
_WINDOW_HELD = "{{ add_days(forward_from(), 1 - var('history_days')) }}"


def _carry_sql(tags: Sequence[Tag]) -> str:
    """Statements that take the rows of users of whom nothing changed to another day, column by column.

    Three columns move by themselves: a tag without a declared last fact is confirmed on the day, one without a declared
    first fact is set at the earliest since the first day of the window, and interests fade. Rows that have such a day for
    a fact of their own move along and are put right again: see _dated_sql.
    """
    window = f"(select {{{{ day_start('first_day') }}}} from ({WINDOW_START}) as window_start)"
    confirmed = "coalesce({{ day_start('dated.confirmed_on') }}, held.last_confirmed_at)"
    first = "coalesce({{ day_start('dated.first_on') }}, held.first_set_at)"
    statements = [
        "update {{ this }} set last_confirmed_at = {{ day_start(as_of()) }} "
        "where last_confirmed_at = {{ day_start(forward_from()) }}",
        f"update {{{{ this }}}} set first_set_at = least({window}, last_confirmed_at) "
        "where first_set_at >= {{ day_start(add_days(forward_from(), 1 - var('history_days'))) }} "
        f"and first_set_at < {window}",
        f"update {{{{ this }}}} as held set last_confirmed_at = {confirmed}, first_set_at = least({first}, {confirmed}) "
        "from {{ scratch_name('dated') }} as dated where held.user_id = dated.user_id and held.tag = dated.tag",
    ]
    if interests := [literal(tag.code) for tag in tags if tag.spec.interest is not None]:
        statements.append(
            "update {{ this }} as held set weight = faded.weight from {{ ref('int_tags__observed') }} as faded "
            "where held.user_id = faded.user_id and held.tag = faded.tag and faded.place = 1 and faded.is_set "
            f"and held.tag in ({', '.join(interests)}) and faded.tag in ({', '.join(interests)})"
        )
    return "; ".join(" ".join(statement.split()) for statement in statements)


def _dated_sql(tags: Sequence[Tag]) -> str:
    """Tags of users judged as before that have one of the days which move along for a fact of their own, with that fact."""
    by_tag = [(tag, dict(named_facts(tag))) for tag in tags]
    by_tag = [(tag, has) for tag, has in by_tag if "first" in has or "confirmed" in has]
    # The first day is not later than the last: one that lies ahead moves with the days.
    first = f"first_on > {{{{ forward_from() }}}} or (first_on >= {_WINDOW_HELD} and first_on < first_day)"
    rows: list[Sequence[str]] = []
    conditions: dict[tuple[str, str], str] = {}
    for tag, has in by_tag:
        rows.append(
            (
                literal(tag.code),
                *(
                    f"{prefix}__{tag.code}" if prefix in has else "cast(null as date)"
                    for prefix in ("first", "confirmed")
                ),
            )
        )
        # Many tags name the same day: one look at it.
        if "first" in has:
            conditions.setdefault(("first", has["first"]), first.replace("first_on", f"first__{tag.code}"))
        if "confirmed" in has:
            moves = f"confirmed__{tag.code} = {{{{ forward_from() }}}}"
            conditions.setdefault(("confirmed", has["confirmed"]), moves)
    stacked = stacked_sql("facts", ("user_id", "first_day"), ("tag", "first_on", "confirmed_on"), rows)
    return f"""with
    facts as (
        select *
        from {{{{ ref('int_tags__judged') }}}}
        cross join ({WINDOW_START}) as window_start
        where changed_on <= {{{{ forward_from() }}}} and ({" or ".join(conditions.values()) or "false"})
    ),

    dated as (
{stacked}
    )

select
    user_id,
    tag,
    case when {first} then first_on end as first_on,
    case when confirmed_on = {{{{ forward_from() }}}} then confirmed_on end as confirmed_on
from dated
where confirmed_on = {{{{ forward_from() }}}} or {first}
"""


def _other_users_sql(tags: Sequence[Tag]) -> str:
    """Users whose rows of user_tags are written again though they are judged as before: a value is or was kept, or a tag
    was set on a day between the two, though it was set on both."""
    parts = [
        "select user_id from {{ ref('user_tag_history') }} where change = 'set' "
        "and as_of_date > {{ forward_from() }} and as_of_date <= {{ as_of() }}"
    ]
    if kept_tags(tags):
        parts.append(
            "select user_id from {{ ref('int_tags__kept') }} where as_of_date in ({{ as_of() }}, {{ forward_from() }})"
        )
    return "\nunion\n".join(parts)


# What int_tags__evaluated says of each tag, as user_tags shows it.
_SET_COLUMNS = (
    "tag",
    "tag_value",
    "weight",
    "first_on",
    "last_confirmed_on",
    "expires_on",
    "evidence_count",
    "last_activity",
)


def user_tags_sql(tags: Sequence[Tag]) -> str:
    """Model user_tags: one row per user and tag that is set."""
    rows = []
    for tag in tags:
        has = dict(named_facts(tag))
        column, code = value_column(tag.code), tag.code
        can_confirm = "confirmed" in has or tag.spec.empty_result == "keep"
        confirmed = f"coalesce(confirmed__{code}, {{{{ as_of() }}}})" if can_confirm else "{{ as_of() }}"
        kept = tag.spec.empty_result == "keep" and tag.has_expiry
        expires = f"expires__{code}" if kept else expires_sql(tag)
        rows.append(
            (
                literal(code),
                text_sql(tag, column),
                f"coalesce(cast(weight__{code} as double), 1)" if "weight" in has else "cast(1 as double)",
                f"first__{code}" if "first" in has else "cast(null as date)",
                confirmed,
                expires,
                f"coalesce(cast(evidence__{code} as bigint), 1)"
                if "evidence" in has
                else "cast(1 as bigint)",
                f"activity__{code}" if "activity" in has else "cast(null as varchar)",
            )
        )
    stacked = stacked_sql("evaluated", ("user_id",), _SET_COLUMNS, rows)
    among = "{% if forward %} where user_id in (select user_id from touched){% endif %}"
    interests = ", ".join(literal(tag.code) for tag in tags if tag.spec.interest is not None) or "''"
    return (
        model_header("dbt_project/specs/tags/")
        + f"""{{{{
    config(
        materialized="running",
        unique_key="user_id",
        pre_hook="{{% if is_forward() %}}{_carry_sql(tags)}{{% endif %}}",
        meta={{"replaced": "touched", "scratch": ["dated", "others", "touched"]}},
    )
}}}}
-- depends_on: {{{{ ref('int_tags__judged') }}}}, {{{{ ref('int_tags__kept') }}}}, {{{{ ref('int_tags__evaluated') }}}}
{{% set forward = is_forward() %}}
{{#- Who has gone since, and what was kept, is known of a day that is held. -#}}
{{% if forward and not has_rows("select 1 as one from " ~ ref("int_tags__user_days") ~ " where as_of_date = " ~ forward_from()) %}}
{{% do build_anew() %}}
{{% set forward = false %}}
{{% endif %}}
{{% set dated %}}
{_dated_sql(tags)}{{% endset %}}
{{% if forward %}}
{{% do counted_rows("dated", dated) %}}
{{% endif %}}
{{% set others %}}
select user_id
from (
{_other_users_sql(tags)}
) as others
where user_id not in (select user_id from {{{{ ref('int_tags__judged') }}}} where changed_on > {{{{ forward_from() }}}})
{{% endset %}}
{{% set touched %}}
select user_id from {{{{ scratch_name("others") }}}}
union
select user_id from {{{{ ref('int_tags__judged') }}}} where changed_on > {{{{ forward_from() }}}}
union
select user_id
from {{{{ ref('int_tags__user_days') }}}} as held
where
    as_of_date = {{{{ forward_from() }}}}
    and not exists (
        select 1 from {{{{ ref('int_tags__judged') }}}} as judged where judged.user_id = held.user_id
    )
{{% endset %}}
{{#- Rows that are new stand together in the table; the others are looked for in all of it, if there are any. -#}}
{{% set evaluated %}}
select * from {{{{ ref('int_tags__evaluated') }}}} where changed_on > {{{{ forward_from() }}}}
{{% if forward and has_rows(counted_rows("others", others)) %}}
union all
select * from {{{{ ref('int_tags__evaluated') }}}} where user_id in (select user_id from {{{{ scratch_name("others") }}}})
{{% endif %}}
{{% endset %}}
with
    {{% if forward %}}
    touched as ({{{{ counted_rows("touched", touched) }}}}),

    evaluated as ({{{{ evaluated }}}}),
    {{% else %}}
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),
    {{% endif %}}

    history as (select * from {{{{ ref('user_tag_history') }}}}{among}),

    interests as (
        select user_id, tag, weight
        from {{{{ ref('int_tags__observed') }}}}
        where
            place = 1 and is_set and tag in ({interests})
            {{% if forward %}} and user_id in (select user_id from touched){{% endif %}}
    ),

    all_tags as (
{stacked}
    ),

    set_tags as (select * from all_tags where tag_value is not null),

    window_start as (
        {WINDOW_START}
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

    final as (
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
    )

select *
from final
"""
    )
