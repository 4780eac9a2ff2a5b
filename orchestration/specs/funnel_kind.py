"""Funnels as a kind of spec: what must hold across files, and the files that are generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestration.specs.documents import Problem
from orchestration.specs.funnel_sql import EVENTS_MODEL, entries_sql, events_sql
from orchestration.specs.funnels import (
    MAX_BREAKDOWNS,
    MAX_STEPS,
    Breakdown,
    Funnel,
    FunnelSpec,
    check_funnel,
)
from orchestration.specs.generated import model_header, yaml_header, yaml_text
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.predicates import literal

_FOLDER = "dbt_project/models/intermediate/funnels"
_SOURCE = "dbt_project/specs/funnels"
_FIXED_COLUMNS = (
    ("funnel", "Name of the funnel, with its window's suffix when several are declared"),
    ("user_id", "The user"),
    ("correlation_value", "The value held constant; empty for a funnel per user"),
    ("entry_date", "First business day of the time within which this is the best entry; empty = of all"),
    ("attempt_date", "Business day of entry where each day is an attempt of its own, else empty"),
    ("entered_at", "Latest start of the first completed chain of this level, UTC"),
    ("completed_at", "When this level was reached, UTC"),
    ("level", "Steps done"),
    ("is_mature", "Whether the whole window lies in complete business days up to as_of"),
)


def model_name(funnel: Funnel) -> str:
    """Name of the model that holds a funnel's entries."""
    return f"int_funnels__{funnel.name}"


def read_funnels(project: Project) -> tuple[list[Funnel], list[Problem]]:
    """All funnels of a project, in the order of their files, and what is wrong with them."""
    funnels: list[Funnel] = []
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for loaded in project.of(KIND):
        funnel, found = check_funnel(loaded.spec, loaded.document, project.columns, project.activities)
        problems += found
        for window in funnel.windows:
            other = taken.setdefault(window.funnel, loaded.document.file)
            if other != loaded.document.file:
                problems.append(
                    loaded.document.problem(("name",), f"{window.funnel} is a funnel of {other} already.")
                )
        funnels.append(funnel)
    return funnels, problems


def check_funnels(project: Project) -> Sequence[Problem]:
    """What is wrong with the funnels of a project."""
    return read_funnels(project)[1]


def compile_funnels(project: Project) -> Mapping[str, str]:
    """Generated models: path from the project's root → text."""
    return funnel_files(read_funnels(project)[0])


def funnel_files(funnels: Sequence[Funnel]) -> dict[str, str]:
    """The files of these funnels: path from the project's root → text."""
    header = model_header(_SOURCE)
    files = {f"{_FOLDER}/{EVENTS_MODEL}.sql": header + events_sql(funnels)} if funnels else {}
    for funnel in funnels:
        files[f"{_FOLDER}/{model_name(funnel)}.sql"] = model_header(
            f"{_SOURCE}/{funnel.name}.yml"
        ) + entries_sql(funnel)
    files[f"{_FOLDER}/int_funnels__entries.sql"] = header + _entries(funnels)
    files[f"{_FOLDER}/int_funnels__periods.sql"] = header + _periods(funnels)
    files[f"{_FOLDER}/_funnels__models.yml"] = yaml_header(_SOURCE) + _descriptions(funnels)
    files["dbt_project/models/marts/funnels/funnel_steps.sql"] = header + _steps(funnels)
    files["dbt_project/macros/funnel_splits.sql"] = _splits(funnels)
    return files


def _entries(funnels: Sequence[Funnel]) -> str:
    """Entries of all funnels, padded to the same columns."""
    parts = []
    for funnel in funnels:
        at_steps = {number for number, breakdown in enumerate(funnel.breakdowns, 1) if breakdown.step}
        columns = ["funnel", "user_id", "correlation_value", "entry_date"]
        columns.append(
            "entry_date as attempt_date"
            if funnel.spec.entry == "per_day"
            else "cast(null as date) as attempt_date"
        )
        columns += ["entered_at", "completed_at", "level", "is_mature"]
        columns += [
            f"step_{step}_seconds"
            if step <= len(funnel.steps)
            else f"cast(null as double) as step_{step}_seconds"
            for step in range(2, MAX_STEPS + 1)
        ]
        columns += [
            f"breakdown_{number}" if number in at_steps else f"cast(null as varchar) as breakdown_{number}"
            for number in range(1, MAX_BREAKDOWNS + 1)
        ]
        listed = ",\n            ".join(columns)
        parts.append(
            f"        select\n            {listed}\n        from {{{{ ref('{model_name(funnel)}') }}}}\n"
        )
    if not parts:
        nothing = ",\n            ".join(f"cast(null as {kind}) as {name}" for name, kind in _entry_types())
        parts = [f"        select\n            {nothing}\n        where false\n"]
    union = "        union all\n".join(parts)
    return (
        "{{ config(materialized='view') }}\n" + f"with\n    final as (\n{union}    )\nselect *\nfrom final\n"
    )


def _entry_types() -> list[tuple[str, str]]:
    types = {
        "entry_date": "date",
        "attempt_date": "date",
        "entered_at": "timestamp",
        "completed_at": "timestamp",
    }
    types |= {"level": "integer", "is_mature": "boolean"}
    columns = [(name, types.get(name, "varchar")) for name, _ in _FIXED_COLUMNS]
    columns += [(f"step_{step}_seconds", "double") for step in range(2, MAX_STEPS + 1)]
    return columns + [(f"breakdown_{number}", "varchar") for number in range(1, MAX_BREAKDOWNS + 1)]


def _values(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """A list of rows as a relation; `rows` hold SQL."""
    names = ", ".join(columns)
    if not rows:
        nothing = ", ".join(f"cast(null as varchar) as {column}" for column in columns)
        return f"        select {nothing}\n        where false\n"
    listed = ",\n            ".join(f"({', '.join(row)})" for row in rows)
    return f"        select *\n        from (\n            values\n            {listed}\n        ) as declared({names})\n"


def _periods(funnels: Sequence[Funnel]) -> str:
    rows = [
        (literal(window.funnel), literal(period))
        for funnel in funnels
        for window in funnel.windows
        for period in funnel.spec.period
    ]
    body = _values(rows, ("funnel", "period"))
    return (
        "{{ config(materialized='ephemeral') }}\n"
        + f"with\n    final as (\n{body}    )\nselect *\nfrom final\n"
    )


def _steps(funnels: Sequence[Funnel]) -> str:
    columns = [
        "funnel",
        "step",
        "step_name",
        "step_zh",
        "step_en",
        "title_zh",
        "title_en",
        "owner",
        "description",
        "order_mode",
        "window_seconds",
        "hold_constant",
        "entry",
    ]
    rows = []
    for funnel in funnels:
        spec = funnel.spec
        for window in funnel.windows:
            for step in funnel.steps:
                seconds = "cast(null as bigint)" if window.seconds is None else str(window.seconds)
                texts = (spec.title.zh, spec.title.en, spec.owner, spec.description.strip(), spec.order)
                rows.append(
                    [literal(window.funnel), str(step.position)]
                    + [literal(text) for text in (step.name, step.label_zh, step.label_en, *texts)]
                    + [
                        seconds,
                        literal(spec.hold_constant) if spec.hold_constant else "cast(null as varchar)",
                    ]
                    + [literal(spec.entry)]
                )
    types = {"step": "integer", "window_seconds": "bigint"}
    casts = ",\n            ".join(
        f"cast({column} as {types.get(column, 'varchar')}) as {column}" for column in columns
    )
    return (
        f"with\n    declared_steps as (\n{_values(rows, columns)}    ),\n"
        f"    final as (\n        select\n            {casts}\n        from declared_steps\n    )\nselect *\nfrom final\n"
    )


def _splits(funnels: Sequence[Funnel]) -> str:
    """The macro that repeats entries per breakdown, with the value of each."""
    by_breakdown: dict[tuple[str, str, int | None, int], list[str]] = {}
    for funnel in funnels:
        for number, breakdown in enumerate(funnel.breakdowns, 1):
            key = (breakdown.name, breakdown.column, breakdown.step, number if breakdown.step else 0)
            by_breakdown.setdefault(key, []).extend(window.funnel for window in funnel.windows)
    parts = [
        "    select entries.*, 'all' as breakdown, 'all' as breakdown_value\n    from {{ entries }} as entries\n"
    ]
    for (name, column, step, number), names in by_breakdown.items():
        value = _split_value(Breakdown(name, column, step), number)
        listed = ", ".join(literal(funnel) for funnel in names)
        join = "" if step else "    left join {{ users }} as users on entries.user_id = users.user_id\n"
        parts.append(
            f"    select entries.*, {literal(name)} as breakdown, {value} as breakdown_value\n"
            f"    from {{{{ entries }}}} as entries\n{join}    where entries.funnel in ({listed})\n"
        )
    body = "    union all\n".join(parts)
    return (
        model_header(_SOURCE)
        + "{#- Every entry once as a whole and once for each breakdown of its funnel. -#}\n"
        + "{% macro funnel_splits(entries, users) -%}\n"
        + body
        + "{%- endmacro %}\n"
    )


def _split_value(breakdown: Breakdown, number: int) -> str:
    if breakdown.step is None:
        return f"coalesce(cast(users.{breakdown.column} as varchar), 'unknown')"
    value = f"coalesce(entries.breakdown_{number}, 'unknown')"
    return (
        value
        if breakdown.step == 1
        else f"case when entries.level < {breakdown.step} then 'not_reached' else {value} end"
    )


def _descriptions(funnels: Sequence[Funnel]) -> str:
    lines = ["version: 2", "", "models:"]

    def model(name: str, description: str, columns: Sequence[tuple[str, str]]) -> None:
        lines.append(f"  - name: {name}")
        lines.append(f"    description: {yaml_text(description)}")
        lines.append("    columns:")
        for column, text in columns:
            lines.append(f"      - name: {column}")
            lines.append(f"        description: {yaml_text(text)}")

    if funnels:
        read = sorted(set().union(*(funnel.columns for funnel in funnels)))
        model(
            EVENTS_MODEL,
            "One row per activity that some funnel reads, with user and moment as integers.",
            [
                ("user_key", "Dense number of the user within this build"),
                ("activity", "What happened"),
                ("occurred_us", "Microseconds since 1970, UTC"),
                *((column, f"{column} of the activity") for column in read),
            ],
        )
    for funnel in funnels:
        who = f"user and {funnel.spec.hold_constant}" if funnel.spec.hold_constant else "user"
        unit = "" if funnel.entry_unit == "all" else f" and {funnel.entry_unit} of entry"
        columns = [column for column in _FIXED_COLUMNS if column[0] != "attempt_date"]
        columns += [
            (
                f"step_{step.position}_seconds",
                f"Seconds from {funnel.steps[step.position - 2].name} to {step.name}",
            )
            for step in funnel.steps[1:]
        ]
        columns += [
            (f"breakdown_{number}", f"Value of {breakdown.name}")
            for number, breakdown in enumerate(funnel.breakdowns, 1)
            if breakdown.step
        ]
        model(
            model_name(funnel),
            f"One row per window, {who}{unit}: the best entry. {funnel.spec.title.en}: {funnel.spec.description.strip()}",
            columns,
        )
    columns = [*_FIXED_COLUMNS]
    columns += [
        (f"step_{step}_seconds", f"Seconds from step {step - 1} to step {step}")
        for step in range(2, MAX_STEPS + 1)
    ]
    columns += [
        (f"breakdown_{n}", f"Value of the funnel's breakdown number {n}")
        for n in range(1, MAX_BREAKDOWNS + 1)
    ]
    model(
        "int_funnels__entries",
        "One row per funnel, user, value held constant and entry_date: the best entry.",
        columns,
    )
    model(
        "int_funnels__periods",
        "One row per funnel and period that its metrics have.",
        [("funnel", "Name of the funnel"), ("period", "all, month, week or day")],
    )
    return "\n".join(lines) + "\n"


KIND: Kind[FunnelSpec] = Kind(
    folder="funnels",
    model=FunnelSpec,
    name_of=lambda spec: spec.name,
    check=check_funnels,
    compile=compile_funnels,
)
