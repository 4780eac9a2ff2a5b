"""What a rule finds in the published marts. Nothing is written, nobody is named.

The spec may be one of the project or a file that was never compiled. Membership is computed by the same
SQL that the compiler writes, on `user_wide` and `user_tags` as they are published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.specs import activations
from orchestration.specs.audience_sql import audience_cte, cte
from orchestration.specs.audiences import BUCKETS, Audience, in_order
from orchestration.specs.documents import SpecError, nearest, read_document, shown
from orchestration.specs.funnel_kind import read_funnels
from orchestration.specs.kinds import Project
from orchestration.specs.loader import (
    KINDS,
    load_audiences,
    load_file,
    load_project,
    load_tags,
    read_project,
)
from orchestration.specs.predicates import counted_in, literal
from orchestration.specs.preview_funnel import FunnelPreview, preview_funnel
from orchestration.specs.preview_tags import TagsPreview, preview_tags
from orchestration.specs.published import Marts, open_marts
from orchestration.specs.tags import Tag

SAMPLE_USERS = 5
_SHOWN_ID_CHARACTERS = 6


@dataclass(frozen=True)
class Overlap:
    """Users that are also members of another published audience; `share` of this audience's members, 0 to 1."""

    audience: str
    users: int
    share: float


@dataclass(frozen=True)
class PreviewResult:
    """Sizes are users. met = suppressed + over_limit + members; members = held_out + to_reach."""

    audience: str
    title: str
    as_of: dt.date
    definition: str
    met: int
    suppressed: dict[str, int]  # first reason → users
    over_limit: int
    members: int
    held_out: int
    to_reach: int
    published_members: int | None  # in the published version, None when the audience is not in it
    reachable: dict[str, int]  # identifier of the file → users to reach who have one
    overlaps: list[Overlap]
    sample_columns: list[str]
    sample: list[list[str]]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        return asdict(self) | {"as_of": self.as_of.isoformat()}

    def show(self, console: Console) -> None:
        """Print the result for a person."""
        console.print(f"{self.title} ({self.audience}) as of {self.as_of}", style="bold", markup=False)
        console.print(self.definition, markup=False, highlight=False)
        sizes = Table("users", "", show_header=False, box=None)
        sizes.columns[0].justify = "right"
        rows = [(self.met, "meet the condition")]
        rows += [(-users, f"left out: {reason}") for reason, users in self.suppressed.items()]
        rows += [(-self.over_limit, "over the limit")] if self.over_limit else []
        rows += [(self.members, "members")]
        rows += [(-self.held_out, "held out")] if self.held_out else []
        rows += [(self.to_reach, "to reach")]
        rows += [(users, f"of them with {kind}") for kind, users in self.reachable.items()]
        if self.published_members is not None:
            rows.append((self.published_members, "members in the published version"))
        for users, text in rows:
            sizes.add_row(f"{users:,}", text)
        console.print(sizes)
        if self.overlaps:
            table = Table("also in", "users", "share", title="Overlap", title_justify="left")
            table.columns[1].justify = table.columns[2].justify = "right"
            for overlap in self.overlaps:
                table.add_row(overlap.audience, f"{overlap.users:,}", f"{overlap.share:.1%}")
            console.print(table)
        if self.sample:
            table = Table(*self.sample_columns, title="Sample, masked", title_justify="left")
            for row in self.sample:
                table.add_row(*(_plain(cell) for cell in row))
            console.print(table)
        for note in self.notes:
            console.print(f"Note: {note}", markup=False)


def _plain(cell: str) -> str:
    """A value of a table cell, with its brackets kept from being read as markup."""
    return cell.replace("[", r"\[")


def preview_spec(
    name: str, home: Home, *, dbt_dir: Path = DBT_PROJECT_DIR
) -> PreviewResult | TagsPreview | FunnelPreview:
    """Preview a declared audience, tag, family of tags or funnel, or the spec file at a path.

    Raises SpecError when a spec is wrong, UsageError when there is none of that name, JingxiError when nothing is
    published.
    """
    is_path = name.endswith((".yml", ".yaml")) or "/" in name
    only: str | None = None
    if is_path:
        project, name, only = _with_file(Path(name).absolute(), dbt_dir)
    else:
        project = load_project(dbt_dir)
    if only == "activations" or name in {one.spec.activation for one in project.of(activations.KIND)}:
        raise UsageError(f"{name} is an activation: `jingxi push {name} --dry-run` shows what it would send.")
    tags, audiences = load_tags(project), load_audiences(project)
    wanted = [tag for tag in tags.values() if name in (tag.code, tag.family.family)]
    funnels = {funnel.name: funnel for funnel in read_funnels(project)[0]}
    kinds = [
        kind
        for kind, has in (("audiences", name in audiences), ("tags", wanted), ("funnels", name in funnels))
        if has and only in (None, kind)
    ]
    if len(kinds) > 1:
        named = " and of ".join(kinds)
        raise UsageError(f"{name} is a name of {named}; give the path of the file that is meant.")
    if not kinds:
        known = [*sorted(audiences), *sorted(funnels), *tags]
        raise UsageError(f"There is no audience, tag or funnel {shown(name)}; {nearest(name, known)}")
    if kinds == ["audiences"]:
        return preview(audiences[name], home, project=project, tags=tags, every=audiences)
    with open_marts(home, project) as marts:
        return preview_tags(wanted, marts) if kinds == ["tags"] else preview_funnel(funnels[name], marts)


def _with_file(path: Path, dbt_dir: Path) -> tuple[Project, str, str]:
    """The project with the spec of a file, in place of the one of its name, that name and the kind's folder.

    Raises SpecError.
    """
    folder = path.parent.name
    first = next(iter(read_document(path, str(path)).data), "")
    fields = {kind.model: next(iter(kind.model.model_fields)) for kind in KINDS}
    kind = next((kind for kind in KINDS if first == fields[kind.model] or kind.folder == folder), None)
    if kind is None:
        raise UsageError(
            f"{path} begins with {shown(first)}; a spec begins with {', '.join(fields.values())}."
        )
    loaded = load_file(kind, path, dbt_dir)
    project, problems = read_project(dbt_dir)
    others = [entry for entry in project.of(kind) if kind.name_of(entry.spec) != kind.name_of(loaded.spec)]
    project = replace(project, loaded={**project.loaded, kind.folder: [*others, loaded]})
    problems = [problem for problem in problems if problem.file != loaded.document.file]
    for each in KINDS if not problems else ():
        problems += each.check(project)
    if problems:
        raise SpecError(problems)
    return project, kind.name_of(loaded.spec), kind.folder


def preview(
    audience: Audience,
    home: Home,
    *,
    project: Project,
    tags: Mapping[str, Tag],
    every: Mapping[str, Audience],
) -> PreviewResult:
    """Preview a checked audience; `every` holds all audiences that it may name, itself included."""
    with open_marts(home, project) as marts:
        return _Preview(marts, audience, tags, every).run()


class _Preview:
    def __init__(
        self, marts: Marts, audience: Audience, tags: Mapping[str, Tag], every: Mapping[str, Audience]
    ) -> None:
        self.marts = marts
        self.session = marts.session
        self.audience = audience
        self.tags = tags
        self.every = every

    def run(self) -> PreviewResult:
        spec = self.audience.spec
        self.session.execute(self._candidates_sql())
        counts = self.session.execute("""
            select count(*), count(*) filter (is_member), count(*) filter (is_member and is_holdout),
                count(*) filter (suppressed_by is null and not is_member)
            from previewed
        """).fetchone() or (0, 0, 0, 0)
        met, members, held_out, over_limit = (int(count) for count in counts)
        found = dict(
            self.session.execute(
                "select suppressed_by, count(*) from previewed where suppressed_by is not null group by all"
            ).fetchall()
        )
        sample_columns, sample = self._sample()
        return PreviewResult(
            audience=self.audience.name,
            title=f"{spec.title.zh} · {spec.title.en}",
            as_of=self.marts.as_of,
            definition=self.audience.definition,
            met=met,
            suppressed={
                reason: int(found[reason]) for reason, _ in self.audience.suppress if reason in found
            },
            over_limit=over_limit,
            members=members,
            held_out=held_out,
            to_reach=members - held_out,
            published_members=self._published_members(),
            reachable=self._reachable(),
            overlaps=self._overlaps(members),
            sample_columns=sample_columns,
            sample=sample,
            notes=self._notes(),
        )

    def _candidates_sql(self) -> str:
        """A temporary table previewed(user_id, suppressed_by, is_member, is_holdout)."""
        needed = self._needed()
        rules = [rule for audience in needed for rule in audience.rules]
        columns = {name for audience in needed for name in audience.columns}
        used = {name for audience in needed for name in audience.tags}
        ctes = [self.marts.users(rules, columns, used, self.tags)]
        ctes += [audience_cte(audience, self.tags, self.marts.days) for audience in needed]
        bucket = f"('0x' || substr(md5({literal(self.audience.spec.holdout_salt + ':')} || user_id), 1, 8))::bigint % {BUCKETS}"
        return (
            f"create temporary table previewed as with {','.join(ctes)}\n"
            f"select user_id, suppressed_by, is_member, {bucket} < {self.audience.spec.holdout_buckets} as is_holdout\n"
            f"from {cte(self.audience.name)}"
        )

    def _needed(self) -> list[Audience]:
        """The audience and all that it names, directly or not, those first that others name."""
        wanted = {self.audience.name}
        todo = [self.audience.name]
        while todo:
            for name in self.every[todo.pop()].audiences - wanted:
                wanted.add(name)
                todo.append(name)
        return [self.every[name] for name in in_order(self.every)[0] if name in wanted]

    def _sample(self) -> tuple[list[str], list[list[str]]]:
        """A few members who are not held out, the first ones by rank; no identifier, user ids shortened."""
        spec = self.audience.spec
        names = [*(name for name in spec.export.columns), *(f"tag {name}" for name in spec.export.tags)]
        columns = "".join(f", cast(user_wide.{name} as varchar)" for name in spec.export.columns)
        columns += "".join(
            f", (select max(value) from user_tags where tag = {literal(name)} and user_tags.user_id = user_wide.user_id)"
            for name in spec.export.tags
        )
        order = "".join(
            f"user_wide.{rank.column} {'desc' if rank.order == 'descending' else 'asc'} nulls last, "
            for rank in spec.rank_by
        )
        rows = self.session.execute(f"""
            with chosen as (
                select user_wide.*
                from previewed join user_wide on previewed.user_id = user_wide.user_id
                where previewed.is_member and not previewed.is_holdout
                order by {order}user_wide.user_id
                limit {SAMPLE_USERS}
            )
            select left(user_wide.user_id, {_SHOWN_ID_CHARACTERS}) || '…'{columns}
            from chosen as user_wide
            order by {order}user_wide.user_id
        """).fetchall()
        return ["user", *names], [["" if cell is None else str(cell) for cell in row] for row in rows]

    def _published_members(self) -> int | None:
        if not self.marts.one(
            "select count(*) from audience_definitions where audience = ?", [self.audience.name]
        ):
            return None
        return int(
            self.marts.one("select count(*) from audience_members where audience = ?", [self.audience.name])
        )

    def _reachable(self) -> dict[str, int]:
        kinds = self.audience.spec.export.identifiers
        if not kinds:
            return {}
        found = dict(
            self.session.execute(
                """
                select id_type, count(distinct user_identities.user_id)
                from user_identities join previewed on user_identities.user_id = previewed.user_id
                where previewed.is_member and not previewed.is_holdout and list_contains(?, id_type)
                group by all
                """,
                [list(kinds)],
            ).fetchall()
        )
        return {kind: int(found.get(kind, 0)) for kind in kinds}

    def _overlaps(self, members: int) -> list[Overlap]:
        rows = self.session.execute(
            """
            select audience_members.audience, count(*) as users
            from audience_members join previewed on audience_members.user_id = previewed.user_id
            where previewed.is_member and audience_members.audience <> ?
            group by all
            order by users desc, audience
            """,
            [self.audience.name],
        ).fetchall()
        return [Overlap(name, int(users), int(users) / members) for name, users in rows]

    def _notes(self) -> list[str]:
        """What makes the preview differ from the next run."""
        published = dict(self.session.execute("select tag, rule_hash from tag_definitions").fetchall())
        used = {name for audience in self._needed() for name in audience.tags}
        changed = sorted(name for name in used if published.get(name) != self.tags[name].rule_hash)
        return [
            f"tag {name} was declared or changed after the last run; its users are those of that run."
            for name in changed
        ] + self.marts.notes_on_activities(
            [
                question
                for audience in self._needed()
                for rule in audience.rules
                for question in counted_in(rule)
            ]
        )
