"""Writes what was planted, so that tests can compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import STYLES
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.profiles import sql_list
from orchestration.ingestion.simulator.window import DAY, NEVER, Window

FOLDER = "_truth"


def write_truth(
    landing: Landing,
    folder: Path,
    window: Window,
    people: People,
    experiments: list[tuple[str, str, int, float, int]],
    planted: dict[str, int],
) -> None:
    """Files persons, churn, style_switch, referral_tree, experiment_effect and planted."""
    person, kind = np.nonzero((people.since < window.seconds).T)
    number = people.number[kind, person]
    typed = np.flatnonzero(
        (people.typed_phone != people.number[kinds.PHONE])
        & ~people.is_phone_of_stranger
        & (people.since[kinds.PHONE] < window.seconds)
    )
    all_persons = np.concatenate([person, typed])
    landing.write_truth(
        folder,
        "persons",
        {
            "person": all_persons,
            "kind": np.concatenate([kind, np.full(len(typed), kinds.PHONE)]),
            "number": np.concatenate([number, people.typed_phone[typed]]),
            "shared": people.is_family_phone[all_persons],
            "mistyped": np.arange(len(all_persons)) >= len(person),
        },
        f"""person, kind_name(kind) as id_type, identifier(kind, number) as id,
        shared and kind = {kinds.PHONE} as is_shared, mistyped as is_mistyped""",
    )
    gone = np.flatnonzero(people.churned < window.seconds)
    landing.write_truth(
        folder,
        "churn",
        {"person": gone, "churned": people.churned[gone]},
        "person, cast(moment(churned) as date) as churned_on",
    )
    turned = np.flatnonzero(people.style_switched < window.seconds)
    landing.write_truth(
        folder,
        "style_switch",
        {
            "person": turned,
            "before": people.style[turned],
            "after": people.style_after[turned],
            "day": people.style_switched[turned] // DAY,
        },
        f"""person, pick({sql_list(STYLES)}, before) as from_style, pick({sql_list(STYLES)}, after) as to_style,
        cast(moment(day * {DAY}) as date) as switched_on""",
    )
    invited = np.flatnonzero(people.inviter >= 0)
    landing.write_truth(
        folder,
        "referral_tree",
        {"inviter": people.inviter[invited], "invitee": invited},
        "inviter, invitee",
    )
    landing.write_truth(
        folder,
        "experiment_effect",
        {
            "number": np.arange(len(experiments)),
            "users": [row[2] for row in experiments],
            "rate": [row[3] for row in experiments],
            "converted": [row[4] for row in experiments],
        },
        f"""{sql_list([row[0] for row in experiments])}[number + 1] as experiment,
        {sql_list([row[1] for row in experiments])}[number + 1] as arm, users, rate as true_rate,
        converted as converted_users""",
    )
    counts = {
        **planted,
        **{f"rows.{table}": count for table, count in landing.rows.items()},
        **{f"broken.{table}.{damage}": count for (table, damage), count in landing.broken.items()},
        "churned_persons": len(gone),
        "style_switches": len(turned),
        "persons_with_family_phone": int(
            (people.is_family_phone & (people.since[kinds.PHONE] < NEVER)).sum()
        ),
        "mistyped_phones": int((people.typed_phone != people.number[kinds.PHONE]).sum()),
        "mistyped_phones_of_strangers": int(people.is_phone_of_stranger.sum()),
    }
    names = sorted(counts)
    landing.write_truth(
        folder,
        "planted",
        {"number": np.arange(len(names)), "count": [counts[name] for name in names]},
        f"{sql_list(list(names))}[number + 1] as name, count",
    )
    files = landing.repeated_files
    if files:
        landing.write_truth(
            folder,
            "repeated_files",
            {"number": np.arange(len(files))},
            f"""{sql_list([table for table, _, _ in files])}[number + 1] as table_name,
            {sql_list([str(file.relative_to(landing.folder)) for _, file, _ in files])}[number + 1] as file,
            {sql_list([str(copy.relative_to(landing.folder)) for _, _, copy in files])}[number + 1] as copy""",
        )
