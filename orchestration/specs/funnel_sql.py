"""SQL of declared funnels: which moments each start of a funnel reaches, its level, the best entry of each user.

Two exact forms, chosen per funnel when it is compiled:

* `funnel_stream` (a macro; DuckDB): one sort of packed integers and streaming windows. Used when every activity
  is at most one step, steps are ordered, and nothing voids an attempt.
* windows over moments (here; any engine): activities of a key at one moment form a group. "Steps a + 1 … b can
  all be done in this group by different events" is a count per set of steps (`Funnel.overlapping_sets`), and
  `next_a_m` is the earliest moment at which step m is done by somebody who has done a steps before, later than
  this group: the minimum over later groups and over the b that each of them allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.specs.funnels import Exclusion, Funnel, FunnelSpec, Match, Step, overlapping
from orchestration.specs.predicates import Names, literal, to_sql

EVENTS_MODEL = "int_funnels__events"
UNLIMITED_US = 2**63 - 1
_SECOND_US = 1_000_000
# What one BIGINT of funnel_stream holds: 63 bits less 32 for the second and 3 or 4 for the step.
_PACKED_SECONDS_US = 2**32 * _SECOND_US


class _ActivityNames(Names):
    """How SQL spells columns of the activity stream."""

    def column(self, name: str) -> str:
        return name


@dataclass(frozen=True)
class _Cte:
    name: str
    sql: str


def entries_sql(funnel: Funnel) -> str:
    """The model of one funnel: one row per window, user (and value) and entry unit, the best entry of each.

    Columns: funnel, user_id, correlation_value, entry_date (first business day of the entry unit; null when the
    metrics need no periods), entered_at, completed_at (when its level was reached), level, is_mature,
    step_<k>_seconds (from the step before, null when not reached), breakdown_<n>.
    """
    users = _Cte("users", "select user_id, user_key\nfrom {{ ref('int_identity__users') }}")
    ctes = [users, _events(funnel), *_keyed(funnel)]
    if funnel.streams:
        windowed = "".join(_cte(cte) for cte in _windowed(funnel))
        head = "".join(_cte(cte) for cte in ctes)
        middle = (
            "    {%- if funnel_streams() %}\n"
            + "".join(_cte(cte) for cte in _streamed(funnel))
            + "    {%- else %}\n"
            + windowed
            + "    {%- endif %}\n"
        )
    else:
        head = "".join(_cte(cte) for cte in ctes)
        middle = "".join(_cte(cte) for cte in _windowed(funnel))
    tail = ",\n".join(_cte(cte).rstrip(",\n") for cte in _graded(funnel))
    return f"with\n{head}{middle}{tail}\nselect *\nfrom final\n"


def events_sql(funnels: Sequence[Funnel]) -> str:
    """The model that all funnels read: activities of some funnel, users and moments as integers."""
    columns = sorted(set().union(*(funnel.columns for funnel in funnels)))
    named = [funnel.activities for funnel in funnels]
    where = ""
    if all(activities is not None for activities in named):
        listed = sorted(set().union(*(activities or set() for activities in named)))
        where = (
            f"\n        where activities.activity in {_texts(listed)}" if listed else "\n        where false"
        )
    more = "".join(f",\n            activities.{column}" for column in columns)
    return f"""with
    activities as (select * from {{{{ ref('int_activity') }}}}),
    users as (select user_id, user_key from {{{{ ref('int_identity__users') }}}}),
    final as (
        select
            users.user_key,
            activities.activity,
            {{{{ funnel_microseconds('activities.occurred_at') }}}} as occurred_us{more}
        from activities
        inner join users on activities.user_id = users.user_id{where}
    )
select *
from final
"""


def reached_sql(funnel: Funnel, relation: str, zone: str) -> str:
    """A select, for DuckDB, of how many keys reach each step of each window: funnel, step, users.

    `relation` has the columns of the activity stream; a key is a user, with the value held constant and, where each day
    is an attempt of its own, the business day in `zone`.
    """
    constant = funnel.spec.hold_constant
    flags = [f"({_match(step.match)}) as is_step_{step.position}" for step in funnel.steps]
    flags += [f"({_match(e.match)}) as is_excluded_{number}" for number, e in enumerate(funnel.exclusions, 1)]
    wanted = [f"activity in {_texts(sorted(funnel.activities))}"] if funnel.activities is not None else []
    wanted += [f"{constant} is not null"] if constant else []
    key = f"user_id || chr(31) || {constant}" if constant else "user_id"
    keyed = _Cte(
        "keyed",
        f"select {key} as pair_key, epoch_us(occurred_at) as occurred_us, {', '.join(flags)}\nfrom {relation}\n"
        f"where {' and '.join(wanted) or 'true'}",
    )
    ctes = ",\n".join(_cte(cte).rstrip(",\n") for cte in (keyed, *_windowed(funnel)))
    counted = "pair_key"
    if funnel.spec.entry == "per_day":
        day = f"cast(timezone({literal(zone)}, timezone('UTC', make_timestamp(entered_us))) as date)"
        counted = f"(pair_key, {day})"
    parts = []
    for window in funnel.windows:
        for step in range(1, len(funnel.steps) + 1):
            within = f"done_{step}_us is not null"
            if window.seconds is not None:
                within += f" and done_{step}_us - entered_us <= {window.seconds * _SECOND_US}"
            if funnel.spec.order == "any_order":
                within += f" and first_step <= {step}"
            parts.append(
                f"select {literal(window.funnel)} as funnel, {step} as step, count(distinct {counted}) as users "
                f"from timelines where {within}"
            )
    union = "\nunion all\n".join(parts)
    return f"with\n{ctes}\n{union}"


def sequence_sql(relation: str, steps: Sequence[tuple[tuple[str, ...], str]], days_apart: int | None) -> str:
    """A select of the users who did all steps in order, by the same rules as an ordered funnel.

    `relation` has user_id and occurred_at; a step is its activities and, as SQL, which rows are that step.
    """
    declared = tuple(
        Step(position, f"step_{position}", "", "", Match(activities))
        for position, (activities, _) in enumerate(steps, 1)
    )
    options: dict[str, Any] = {"order": "ordered", "strict_increase": False}
    spec = FunnelSpec.model_construct(**options)
    funnel = Funnel(spec, declared, (), overlaps=overlapping(declared))
    flags = ", ".join(
        f"{condition} as is_step_{position}" for position, (_, condition) in enumerate(steps, 1)
    )
    useful = " or ".join(condition for _, condition in steps)
    # Moments serve as they are; only the names of the funnel's windows speak of microseconds.
    keyed = _Cte(
        "keyed",
        f"select user_id as pair_key, occurred_at as occurred_us, {flags}\nfrom {relation}\nwhere {useful}",
    )
    ctes = ",\n".join(_cte(cte).rstrip(",\n") for cte in (keyed, *_ordered(funnel)))
    last = f"done_{len(steps)}_us"
    within = "" if days_apart is None else f" and {last} <= entered_us + interval '{days_apart}' day"
    return (
        f"with\n{ctes}\nselect distinct pair_key as user_id\nfrom timelines\nwhere {last} is not null{within}"
    )


def _cte(cte: _Cte) -> str:
    body = "\n".join(f"        {line}" if line else "" for line in cte.sql.strip("\n").split("\n"))
    return f"    {cte.name} as (\n{body}\n    ),\n"


def _texts(values: Iterable[str]) -> str:
    return "(" + ", ".join(literal(value) for value in values) + ")"


def _match(match: Match) -> str:
    sql = f"activity in {_texts(match.activities)}"
    if match.where is None:
        return sql
    return f"{sql} and coalesce({to_sql(match.where, _ActivityNames())}, false)"


# --- activities, keys ------------------------------------------------------------------------------------


def _step_breakdown_columns(funnel: Funnel) -> list[str]:
    return sorted({breakdown.column for breakdown in funnel.breakdowns if breakdown.step})


def _events(funnel: Funnel) -> _Cte:
    """Activities with a flag for each step and each exclusion."""
    lines = ["user_key", "occurred_us"]
    constant = funnel.spec.hold_constant
    if constant:
        lines.append(f"{constant} as correlation_value")
    lines += [f"{column} as step_{column}" for column in _step_breakdown_columns(funnel)]
    lines += [f"{_match(step.match)} as is_step_{step.position}" for step in funnel.steps]
    lines += [
        f"{_match(exclusion.match)} as is_excluded_{n}" for n, exclusion in enumerate(funnel.exclusions, 1)
    ]
    conditions = [f"activity in {_texts(sorted(funnel.activities))}"] if funnel.activities is not None else []
    conditions += [f"{constant} is not null"] if constant else []
    where = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    return _Cte(
        "events", "select\n    " + ",\n    ".join(lines) + f"\nfrom {{{{ ref('{EVENTS_MODEL}') }}}}{where}"
    )


def _keyed(funnel: Funnel) -> list[_Cte]:
    """The same with one dense integer for what a funnel runs per: the user, or the user and the value."""
    flags = [f"is_step_{step.position}" for step in funnel.steps]
    flags += [f"is_excluded_{number}" for number in range(1, len(funnel.exclusions) + 1)]
    # Rows whose condition fails are of no use, except where anything may interrupt.
    useful = "" if funnel.activities is None else f"\nwhere {' or '.join(flags)}"
    if not funnel.spec.hold_constant:
        return [_Cte("keyed", f"select *, user_key as pair_key\nfrom events{useful}")]
    distinct = _Cte("starters", "select distinct user_key, correlation_value\nfrom events\nwhere is_step_1")
    pairs = _Cte(
        "pairs",
        "select user_key, correlation_value, row_number() over (order by user_key, correlation_value) as pair_key\nfrom starters",
    )
    keyed = _Cte(
        "keyed",
        "select events.*, pairs.pair_key\nfrom events\ninner join pairs\n"
        "    on events.user_key = pairs.user_key and events.correlation_value = pairs.correlation_value"
        + useful,
    )
    return [distinct, pairs, keyed]


# --- the fast form ---------------------------------------------------------------------------------------


def _streamed(funnel: Funnel) -> list[_Cte]:
    count = len(funnel.steps)
    cases = " ".join(f"when is_step_{step.position} then {step.position}" for step in funnel.steps)
    steps = _Cte("steps", f"select pair_key, occurred_us, case {cases} end as step\nfrom keyed")
    key_limit = 2 ** (63 - 32 - (3 if count <= 8 else 4))
    limits = _Cte(
        "limits",
        "-- Whether key, second and step fit in one BIGINT; else twice as many bits are sorted.\n"
        "select\n    coalesce(\n"
        f"        min(occurred_us) >= 0 and max(occurred_us) < {_PACKED_SECONDS_US}\n"
        f"        and max(pair_key) < {key_limit} and min(pair_key) >= 0\n"
        f"        and max(occurred_us % {_SECOND_US}) = 0,\n"
        "        true\n    ) as is_small\nfrom steps",
    )

    def call(condition: str, packing: str) -> str:
        strict = str(funnel.spec.strict_increase).lower()
        return f"{{{{ funnel_stream('steps', '{condition}', {count}, {strict}, '{funnel.entry_unit}', '{packing}') }}}}"

    timelines = _Cte(
        "timelines",
        f"select * from (\n    {call('(select is_small from limits)', 'seconds')}\n) as small\n"
        f"union all\nselect * from (\n    {call('not (select is_small from limits)', 'microseconds')}\n) as large",
    )
    return [steps, limits, timelines]


# --- the portable form -----------------------------------------------------------------------------------


def _set_name(positions: Sequence[int]) -> str:
    return "_".join(str(position) for position in positions)


def _any_of(positions: Sequence[int]) -> str:
    return " or ".join(f"is_step_{position}" for position in positions)


def _all_sets(funnel: Funnel) -> list[tuple[int, ...]]:
    return funnel.overlapping_sets(range(1, len(funnel.steps) + 1))


def _windowed(funnel: Funnel) -> list[_Cte]:
    if funnel.spec.order == "any_order":
        return _any_order(funnel)
    if funnel.spec.order == "strict":
        return _strict(funnel)
    return _ordered(funnel)


def _grouped(funnel: Funnel) -> _Cte:
    """One row per key and moment: how many activities match each set of steps, and how many there are in all."""
    lines = ["pair_key", "occurred_us"]
    lines += [
        f"sum(case when {_any_of(positions)} then 1 else 0 end) as matches_{_set_name(positions)}"
        for positions in _all_sets(funnel)
    ]
    if funnel.spec.order == "strict":
        lines.append("count(*) as activities_count")
    lines += [
        f"max(case when is_excluded_{number} then 1 else 0 end) as is_excluded_{number}"
        for number in range(1, len(funnel.exclusions) + 1)
    ]
    return _Cte(
        "moments", "select\n    " + ",\n    ".join(lines) + "\nfrom keyed\ngroup by pair_key, occurred_us"
    )


def _doable(funnel: Funnel, done: int, until: int) -> str | None:
    """SQL: different activities of the moment can do steps done + 1 … until. None when never."""
    if funnel.spec.strict_increase and until > done + 1:
        return None
    sets = funnel.overlapping_sets(range(done + 1, until + 1))
    return " and ".join(f"matches_{_set_name(positions)} >= {len(positions)}" for positions in sets)


def _earliest(funnel: Funnel, done: int, step: int) -> str:
    """SQL: the earliest moment at which `step` is done when a moment begins with `done` steps done.

    With strict order a moment that is neither the first nor the last of the attempt must be used up.
    """
    options = []
    for until in range(done + 1, step + 1):
        doable = _doable(funnel, done, until)
        if doable is None:
            continue
        if until < step and done > 0 and funnel.spec.order == "strict":
            doable += f" and activities_count = {until - done}"
        reached = "occurred_us" if until == step else f"next_{until}_{step}"
        options.append(f"case when {doable} then {reached} end")
    return options[0] if len(options) == 1 else f"least({', '.join(options)})"


def _final_moments(funnel: Funnel, relation: str, *, several: bool) -> _Cte:
    count = len(funnel.steps)
    columns = [f"{_earliest(funnel, 0, step)} as done_{step}_us" for step in range(2, count + 1)]
    if several:
        columns = [f"min({_earliest(funnel, 0, step)}) as done_{step}_us" for step in range(2, count + 1)]
    more = "".join(f",\n    {column}" for column in columns)
    group = "\ngroup by pair_key, occurred_us" if several else ""
    return _Cte(
        "timelines",
        f"select\n    pair_key,\n    occurred_us as entered_us,\n    occurred_us as done_1_us{more}\n"
        f"from {relation}\nwhere matches_1 >= 1{group}",
    )


def _ordered(funnel: Funnel) -> list[_Cte]:
    ctes = [_grouped(funnel)]
    relation = "moments"
    if funnel.exclusions:
        # An excluded activity ends a segment, moment included, and begins the next, moment included: "between"
        # means strictly between. So its moment stands in both.
        numbers = range(1, len(funnel.exclusions) + 1)
        segments = [
            f"coalesce(\n        sum(is_excluded_{number}) over (\n"
            "            partition by pair_key order by occurred_us rows between unbounded preceding and 1 preceding\n"
            f"        ),\n        0\n    ) as segment_{number}"
            for number in numbers
        ]
        ctes.append(_Cte("segmented", "select\n    *,\n    " + ",\n    ".join(segments) + "\nfrom moments"))
        relation = "segmented"
        kept = ["pair_key", "occurred_us"]
        kept += [f"matches_{_set_name(positions)}" for positions in _all_sets(funnel)]
        kept += [f"is_excluded_{number}" for number in numbers]
        for number in numbers:
            others = ", ".join([*kept, *(f"segment_{other}" for other in numbers if other != number)])
            ctes.append(
                _Cte(
                    f"doubled_{number}",
                    f"select {others}, segment_{number}\nfrom {relation}\nunion all\n"
                    f"select {others}, segment_{number} + 1 as segment_{number}\nfrom {relation}\n"
                    f"where is_excluded_{number} = 1",
                )
            )
            relation = f"doubled_{number}"
    kind = "range" if funnel.exclusions else "rows"
    for done in range(len(funnel.steps) - 1, 0, -1):
        within = [f", segment_{number}" for number, e in enumerate(funnel.exclusions, 1) if _inside(e, done)]
        over = (
            f"over (\n        partition by pair_key{''.join(within)} order by occurred_us\n"
            f"        {kind} between 1 following and unbounded following\n    )"
        )
        columns = [
            f"min({_earliest(funnel, done, step)}) {over} as next_{done}_{step}"
            for step in range(done + 1, len(funnel.steps) + 1)
        ]
        ctes.append(
            _Cte(f"after_{done}", "select\n    *,\n    " + ",\n    ".join(columns) + f"\nfrom {relation}")
        )
        relation = f"after_{done}"
    return [*ctes, _final_moments(funnel, relation, several=bool(funnel.exclusions))]


def _inside(exclusion: Exclusion, done: int) -> bool:
    """Whether going on from step `done` to the next lies between the two steps of an exclusion."""
    return exclusion.first <= done < exclusion.last


def _strict(funnel: Funnel) -> list[_Cte]:
    ctes = [_grouped(funnel)]
    relation = "moments"
    for done in range(len(funnel.steps) - 1, 0, -1):
        columns = [
            f"lead({_earliest(funnel, done, step)}) over (partition by pair_key order by occurred_us) as next_{done}_{step}"
            for step in range(done + 1, len(funnel.steps) + 1)
        ]
        ctes.append(
            _Cte(f"after_{done}", "select\n    *,\n    " + ",\n    ".join(columns) + f"\nfrom {relation}")
        )
        relation = f"after_{done}"
    return [*ctes, _final_moments(funnel, relation, several=False)]


def _any_order(funnel: Funnel) -> list[_Cte]:
    """Steps 1 … k in whatever order: done as soon as every set of n of them has met n activities."""
    count = len(funnel.steps)
    sets = _all_sets(funnel)
    nth = []
    for positions in sets:
        name = _set_name(positions)
        if len(positions) == 1:
            nth.append(f"case when is_step_{name} then occurred_us end as met_{name}")
            continue
        flag = f"case when {_any_of(positions)} then 1 else 0 end"
        nth.append(
            f"case when {_any_of(positions)} then lead(occurred_us, {len(positions) - 1}) over (\n"
            f"        partition by pair_key, {flag} order by occurred_us\n    ) end as met_{name}"
        )
    met = _Cte("met", "select\n    pair_key,\n    occurred_us,\n    " + ",\n    ".join(nth) + "\nfrom keyed")
    names = [_set_name(positions) for positions in sets]
    moments = _Cte(
        "moments",
        "select\n    pair_key,\n    occurred_us,\n    "
        + "".join(f"min(met_{name}) as met_{name},\n    " for name in names)
        + f"case {_first_step(count)} end as first_step\nfrom met\ngroup by pair_key, occurred_us",
    )
    ahead = _Cte(
        "ahead",
        "select\n    pair_key,\n    occurred_us,\n    first_step,\n    "
        + ",\n    ".join(
            f"min(met_{name}) over (\n        partition by pair_key order by occurred_us\n"
            f"        rows between current row and unbounded following\n    ) as next_{name}"
            for name in names
        )
        + "\nfrom moments",
    )
    done = []
    for step in range(1, count + 1):
        nexts = [f"next_{_set_name(p)}" for p in funnel.overlapping_sets(range(1, step + 1))]
        if len(nexts) == 1:
            done.append(f"{nexts[0]} as done_{step}_us")
            continue
        known = " and ".join(f"{name} is not null" for name in nexts)
        done.append(f"case when {known} then greatest({', '.join(nexts)}) end as done_{step}_us")
    timelines = _Cte(
        "timelines",
        "select\n    pair_key,\n    occurred_us as entered_us,\n    first_step,\n    "
        + ",\n    ".join(done)
        + "\nfrom ahead",
    )
    return [met, moments, ahead, timelines]


def _first_step(count: int) -> str:
    return " ".join(f"when min(met_{step}) is not null then {step}" for step in range(1, count + 1))


# --- levels, best entries --------------------------------------------------------------------------------


def _graded(funnel: Funnel) -> list[_Cte]:
    count = len(funnel.steps)
    any_order = funnel.spec.order == "any_order"
    steps = range(1, count + 1)
    done = ", ".join(f"done_{step}_us" for step in steps)
    values = ",\n    ".join(
        f"({literal(window.funnel)}, cast({UNLIMITED_US if window.seconds is None else window.seconds * _SECOND_US} as bigint))"
        for window in funnel.windows
    )
    windows = _Cte("windows", f"select *\nfrom (\n    values {values}\n) as declared(funnel, window_us)")
    cases = "\n        ".join(
        f"when done_{step}_us - entered_us <= window_us{f' and first_step <= {step}' if any_order else ''} then {step}"
        for step in reversed(steps)
    )
    graded = _Cte(
        "graded",
        "select\n    windows.funnel,\n    windows.window_us,\n    timelines.pair_key,\n    timelines.entered_us,\n    "
        + "".join(f"timelines.done_{step}_us,\n    " for step in steps)
        + f"{{{{ funnel_entry_date('timelines.entered_us', '{funnel.entry_unit}') }}}} as entry_date,\n"
        f"    case\n        {cases}\n        else 0\n    end as level\nfrom timelines\ncross join windows",
    )
    credited = _credited(count, done) if funnel.spec.entry == "per_day" else []
    source = credited[-1].name if credited else "graded"
    completed = " ".join(f"when {step} then done_{step}_us" for step in steps)
    completions = _Cte(
        "completions",
        f"select *, case level {completed} end as completed_us\nfrom {source}\nwhere level > 0",
    )
    unit = "" if funnel.entry_unit == "all" else ", entry_date"
    ranked = _Cte(
        "ranked",
        f"select\n    *,\n    row_number() over (\n        partition by window_us, pair_key{unit}\n"
        "        order by level desc, completed_us asc, entered_us desc\n    ) as entry_rank\nfrom completions",
    )
    best = _Cte("best", "select *\nfrom ranked\nwhere entry_rank = 1")
    values_at_steps = [
        _Cte(
            f"values_{number}",
            f"select best.funnel, best.pair_key, best.entered_us, min(keyed.step_{breakdown.column}) as breakdown_value\n"
            "from best\ninner join keyed\n    on best.pair_key = keyed.pair_key\n"
            f"    and best.done_{breakdown.step}_us = keyed.occurred_us\n"
            f"where keyed.is_step_{breakdown.step} and best.level >= {breakdown.step}\n"
            "group by best.funnel, best.pair_key, best.entered_us",
        )
        for number, breakdown in enumerate(funnel.breakdowns, 1)
        if breakdown.step
    ]
    return [
        windows,
        graded,
        *credited,
        completions,
        ranked,
        best,
        *values_at_steps,
        _final(funnel),
    ]


def _credited(count: int, done: str) -> list[_Cte]:
    """A completed last step belongs to one attempt only: the last one that it completes."""
    return [
        _Cte(
            "conversions",
            "select\n    *,\n    row_number() over (\n"
            f"        partition by window_us, pair_key, level, done_{count}_us order by entered_us desc\n"
            "    ) as conversion_rank\nfrom graded",
        ),
        _Cte(
            "credited",
            f"select\n    funnel, window_us, pair_key, entered_us, {done}, entry_date,\n"
            f"    case when level = {count} and conversion_rank > 1 then {count - 1} else level end as level\n"
            "from conversions",
        ),
    ]


def _final(funnel: Funnel) -> _Cte:
    constant = funnel.spec.hold_constant
    lines = [
        "best.funnel",
        "users.user_id",
        "cast(pairs.correlation_value as varchar) as correlation_value"
        if constant
        else "cast(null as varchar) as correlation_value",
        "best.entry_date",
        "{{ funnel_timestamp('best.entered_us') }} as entered_at",
        "{{ funnel_timestamp('best.completed_us') }} as completed_at",
        "cast(best.level as integer) as level",
        # An attempt is decided when the last day on which its window allows a step is a complete business day.
        "case\n"
        f"        when best.window_us = {UNLIMITED_US} then true\n"
        "        else {{ business_date(funnel_timestamp('(best.entered_us + best.window_us)')) }} <= {{ as_of() }}\n"
        "    end as is_mature",
    ]
    lines += [
        f"case when best.level >= {step} then cast(best.done_{step}_us - best.done_{step - 1}_us as double) / {_SECOND_US} end as step_{step}_seconds"
        for step in range(2, len(funnel.steps) + 1)
    ]
    at_steps = [number for number, breakdown in enumerate(funnel.breakdowns, 1) if breakdown.step]
    lines += [
        f"cast(values_{number}.breakdown_value as varchar) as breakdown_{number}" for number in at_steps
    ]
    joins = "inner join users on best.pair_key = users.user_key"
    if constant:
        joins = "inner join pairs on best.pair_key = pairs.pair_key\ninner join users on pairs.user_key = users.user_key"
    for number in at_steps:
        joins += (
            f"\nleft join values_{number}\n    on best.funnel = values_{number}.funnel\n"
            f"    and best.pair_key = values_{number}.pair_key\n    and best.entered_us = values_{number}.entered_us"
        )
    return _Cte("final", "select\n    " + ",\n    ".join(lines) + f"\nfrom best\n{joins}")
