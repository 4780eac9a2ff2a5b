"""What tags would say of the users in the published marts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestration.specs.catalog import ValueType
from orchestration.specs.predicates import counted_in, literal
from orchestration.specs.published import Marts
from orchestration.specs.tag_rules import TagNames, evaluated
from orchestration.specs.tags import Tag

MOST_VALUES = 20


@dataclass(frozen=True)
class TagPreview:
    """Users by what the tag says of them; `values` are the most frequent values of those that have it."""

    tag: str
    title: str
    rule: str
    set: int
    not_set: int
    not_evaluable: int
    values: dict[str, int]
    published: int | None  # users who have it in the published version, None when it is not in it


@dataclass(frozen=True)
class TagsPreview:
    """One tag, or those of a family."""

    as_of: dt.date
    users: int
    tags: list[TagPreview]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        return asdict(self) | {"as_of": self.as_of.isoformat()}

    def show(self, console: Console) -> None:
        """Print the result for a person."""
        console.print(f"{self.users:,} users as of {self.as_of}", style="bold", markup=False)
        for tag in self.tags:
            console.print(f"\n{tag.title} ({tag.tag})", style="bold", markup=False)
            console.print(tag.rule, markup=False, highlight=False)
            table = Table("users", "", show_header=False, box=None)
            table.columns[0].justify = "right"
            rows = [(tag.set, "have the tag")]
            rows += [(users, f"  {value}") for value, users in tag.values.items()]
            rows += [(tag.not_set, "do not have it")]
            rows += [(tag.not_evaluable, "cannot be judged")] if tag.not_evaluable else []
            rows += [] if tag.published is None else [(tag.published, "have it in the published version")]
            for users, text in rows:
                table.add_row(f"{users:,}", text.replace("[", r"\["))
            console.print(table)
        for note in self.notes:
            console.print(f"Note: {note}", markup=False)


def preview_tags(tags: Sequence[Tag], marts: Marts) -> TagsPreview:
    """Preview checked tags, active or not, in one pass over the users.

    Interests, answers and tags of staff need more than the marts hold: they are shown as the last run found them.
    """
    names = TagNames(marts.days)
    columns = {name for tag in tags for name in tag.columns if not tag.is_observed}
    selected = ["1 as one"]
    for number, tag in enumerate(tags):
        if not tag.is_observed:
            value, known = evaluated(tag, names)
            selected += [f"{value} as value_{number}", f"{known} as known_{number}"]
    rules = [rule for tag in tags for rule in tag.rules]
    marts.session.execute(
        f"create temporary table previewed as with {marts.users(rules, columns)}\n"
        f"select {', '.join(selected)} from users"
    )
    questions = [question for rule in rules for question in counted_in(rule)]
    return TagsPreview(
        marts.as_of,
        int(marts.one("select count(*) from user_wide")),
        [_preview(tag, number, marts) for number, tag in enumerate(tags)],
        [
            *marts.notes_on_activities(questions),
            *(
                f"{tag.code} is shown as the last run found it; the next `jingxi run` evaluates it anew."
                for tag in tags
                if tag.is_observed
            ),
        ],
    )


def _preview(tag: Tag, number: int, marts: Marts) -> TagPreview:
    value, known, source = f"value_{number}", f"known_{number}", "previewed"
    is_set = value if tag.type is ValueType.BOOLEAN else f"{value} is not null"
    if tag.is_observed:
        value, source = "value", f"(select value from user_tags where tag = {literal(tag.code)}) as tagged"
        counts = marts.session.execute(
            "select set_count, not_set_count, not_evaluable_count from tag_coverage where tag = ?", [tag.code]
        ).fetchone() or (0, 0, 0)
    else:
        counts = marts.session.execute(f"""
            select count(*) filter ({is_set}), count(*) filter ({known} and not coalesce({is_set}, false)),
                count(*) filter (not {known})
            from {source}
        """).fetchone() or (0, 0, 0)
    values: dict[str, int] = {}
    if tag.type is not ValueType.BOOLEAN:
        rows = marts.session.execute(
            f"select cast({value} as varchar), count(*) as users from {source} where {value} is not null "
            f"group by all order by users desc, 1 limit {MOST_VALUES}"
        ).fetchall()
        values = {str(text): int(users) for text, users in rows}
    is_published = marts.one(
        "select count(*) from tag_definitions where tag = ? and status = 'active'", [tag.code]
    )
    published = marts.one("select count(*) from user_tags where tag = ?", [tag.code])
    return TagPreview(
        tag=tag.code,
        title=f"{tag.spec.title.zh} · {tag.spec.title.en}",
        rule=tag.words,
        set=int(counts[0]),
        not_set=int(counts[1]),
        not_evaluable=int(counts[2]),
        values=values,
        published=int(published) if is_published else None,
    )
