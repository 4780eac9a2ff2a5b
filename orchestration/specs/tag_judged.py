"""Model int_tags__judged: every tag for every user by today's facts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from orchestration.specs.catalog import Segment
from orchestration.specs.generated import model_header
from orchestration.specs.predicates import literal
from orchestration.specs.rule_sql import Sources
from orchestration.specs.tag_rules import (
    NAMES,
    OBSERVED_COLUMNS,
    evaluated,
    known_column,
    named_facts,
    row_hash_sql,
    shown_columns,
    value_column,
)
from orchestration.specs.tags import Tag

# What int_tags__observed says of a tag that does not move by itself from one day to the next: all but an interest's weight.
_OBSERVED_FACTS = ("tag", "value", "is_set", *OBSERVED_COLUMNS.values())


def _pivoted(tags: Sequence[Tag]) -> list[str]:
    """Columns of the pivot."""
    return [f"observed.{part}__{tag.code}" for tag in tags for part in ("value", "seen", *OBSERVED_COLUMNS)]


_OBSERVED_HASH = f"sum(cast({row_hash_sql(_OBSERVED_FACTS)} as decimal(38, 0))) as observed_hash"


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
            for prefix, column in OBSERVED_COLUMNS.items()
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
        materialized="running", unique_key="user_id", meta={"replaced": "changed", "scratch": ["changed"]}
    )
}}
"""


# From one changed user in this many on, everything is built anew; so many users are asked.
_MOST, _ASKED = 3, 5000


_AMONG_CHANGED = "{% if forward %} and user_id in (select user_id from changed){% endif %}"


def judged_sql(tags: Sequence[Tag], segments: Mapping[str, Segment]) -> str:
    """Model int_tags__judged: every active tag for every user by today's facts.

    Going forward, one pass over the wide table finds the users for whom anything differs from the day held (facts_hash);
    only they are judged and written. A few users are asked before: where many of them changed, all may as well be judged.
    """
    sources = Sources.of((rule for tag in tags for rule in tag.rules), segments)
    observed = [tag for tag in tags if tag.is_observed]
    by_rule: list[str] = ["users.user_id"]
    by_observation: list[str] = []
    for tag in tags:
        value, known = evaluated(tag, NAMES)
        columns = by_observation if tag.is_observed else by_rule
        columns.append(f"{value} as {value_column(tag.code)}")
        columns.append(f"{known} as {known_column(tag.code)}")
        columns += [f"users.{name} as {prefix}__{tag.code}" for prefix, name in named_facts(tag)]
    if observed:
        by_rule.append("users.observed_hash")
    names = [column.rsplit(" as ", 1)[-1].removeprefix("users.") for column in by_rule]
    # What several tags say alike goes into the hash once.
    said = {column.rsplit(" as ", 1)[0]: name for column, name in zip(by_rule, names, strict=True)}
    hashed = [name for sql, name in said.items() if sql != "true"]
    # Other rules: another hash, though they may find the same.
    rules = hashlib.sha256(
        "\n".join([*by_rule, _pivot_sql(observed), *map(str, shown_columns(tags))]).encode()
    )
    salt = f"'{rules.hexdigest()[:16]}'"
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
        where place = 1{{% if among == "a few" %}} and user_id in (select user_id from user_wide){{% endif %}}
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
{{% set found = {{}} %}}
{{% for among in ["a few", "all"] %}}
{{% set query %}}
with
    user_wide as (select * from {{{{ ref('user_wide') }}}}{{% if among == "a few" %}} limit {_ASKED}{{% endif %}}),
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

select user_id, {row_hash_sql([salt, *hashed])} as facts_hash
from judged
{{% endset %}}
{{% do found.update({{among: query}}) %}}
{{% endfor %}}
{{#- Every row is written once either way; finding the few that are not would be extra. -#}}
{{% set most_changed %}}
select 1 as one
from ({{{{ found["a few"] }}}}) as found
left join {{{{ this }}}} as held on found.user_id = held.user_id
having count(case when found.facts_hash is distinct from held.facts_hash then 1 end) * {_MOST} > count(*)
{{% endset %}}
{{% if forward and has_rows(most_changed) %}}
{{% do build_anew() %}}
{{% set forward = false %}}
{{% endif %}}
{{% set changed %}}
select coalesce(found.user_id, held.user_id) as user_id
from ({{{{ found["all"] }}}}) as found
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
        select user_id, {", ".join(held[1:]) or "1 as nothing"},
            {row_hash_sql([salt, *hashed])} as facts_hash,
            cast({{{{ as_of() }}}} as date) as changed_on
        from judged
    )

select *
from final
"""
    )
