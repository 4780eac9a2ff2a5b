"""What an audience would hold, asked from the published marts. Nothing is written, nobody is named.

The audience may be one of the project or a spec file that was never compiled. Membership is computed by the same
SQL that the compiler writes, on `user_wide` and `user_tags` as they are published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from orchestration.errors import JingxiError, UsageError
from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.specs.audience_sql import KIND, audience_cte, cte
from orchestration.specs.audiences import BUCKETS, Audience, circle, in_order, read_audience, with_waterfalls
from orchestration.specs.catalog import KEY, Column, ValueType
from orchestration.specs.documents import SpecError, nearest, shown
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_audiences, load_file, load_project, load_tags
from orchestration.specs.predicates import literal
from orchestration.specs.tag_sql import value_column
from orchestration.specs.tags import Tag, tag_types

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


def preview_audience(audience: str, home: Home, *, dbt_dir: Path = DBT_PROJECT_DIR) -> PreviewResult:
    """Preview a declared audience, or the spec file at a path.

    Raises SpecError when the spec is wrong, UsageError when there is no such audience, JingxiError when nothing
    is published.
    """
    project = load_project(dbt_dir)
    tags = load_tags(project)
    every = load_audiences(project)
    if audience.endswith((".yml", ".yaml")) or "/" in audience:
        loaded = load_file(KIND, Path(audience).absolute(), dbt_dir)
        names = [*every, loaded.spec.audience]
        read, problems = read_audience(loaded, project, tag_types(tags), names)
        if read is None:
            raise SpecError(problems)
        every, problems = with_waterfalls(every | {read.name: read})
        if problems:
            raise SpecError(problems)
        cycle = in_order(every)[1]
        if cycle:
            raise SpecError([circle(every[cycle[0]], cycle)])
        audience = read.name
    if audience not in every:
        raise UsageError(f"There is no audience {shown(audience)}; {nearest(audience, sorted(every))}")
    return preview(every[audience], home, project=project, tags=tags, every=every)


def preview(
    audience: Audience,
    home: Home,
    *,
    project: Project,
    tags: Mapping[str, Tag],
    every: Mapping[str, Audience],
) -> PreviewResult:
    """Preview a checked audience; `every` holds all audiences that it may name, itself included."""
    with _published(home) as session:
        try:
            return _Preview(session, audience, project.columns, tags, every).run()
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            raise JingxiError(
                f"The published marts in {home.path} are older than the specs: run `jingxi run` first."
            ) from error


@contextmanager
def _published(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session that can read the published marts and nothing else."""
    if not home.marts.exists():
        raise JingxiError(f"Nothing is published in {home.path} yet: run `jingxi run` first.")
    with duckdb.connect(":memory:") as session:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            session.execute(f"set {name} = false")
        session.execute("set TimeZone = 'UTC'")
        path = str(home.marts).replace("'", "''")
        session.execute(f"attach '{path}' as marts (read_only)")
        session.execute("set search_path = 'marts.main,memory.main'")
        session.execute("set enable_external_access = false")
        session.execute("set lock_configuration = true")
        yield session


class _Preview:
    def __init__(
        self,
        session: duckdb.DuckDBPyConnection,
        audience: Audience,
        columns: Mapping[str, Column],
        tags: Mapping[str, Tag],
        every: Mapping[str, Audience],
    ) -> None:
        self.session = session
        self.audience = audience
        self.columns = columns
        self.tags = tags
        self.every = every
        day = self.one("select as_of_date from publication")
        self.as_of: dt.date = day

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        row = self.session.execute(sql, list(parameters)).fetchone()
        return row[0] if row else None

    def day(self, days: int) -> str:
        return literal(self.as_of + dt.timedelta(days=days))

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
            as_of=self.as_of,
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
        columns = sorted({name for audience in needed for name in audience.columns} - {KEY})
        used = sorted({name for audience in needed for name in audience.tags})
        selected = "".join(f", user_wide.{name}" for name in columns)
        selected += "".join(f", tag_values.{value_column(name)}" for name in used)
        ctes = ""
        if used:
            values = "".join(f", {self._tag_sql(self.tags[name])} as {value_column(name)}" for name in used)
            listed = ", ".join(literal(name) for name in used)
            ctes = f"tag_values as (select user_id{values} from user_tags where tag in ({listed}) group by user_id),\n"
        join = " left join tag_values on user_wide.user_id = tag_values.user_id" if used else ""
        ctes += f"users as (select user_wide.user_id{selected} from user_wide{join}),\n"
        ctes += ",\n".join(audience_cte(audience, self.tags, self.day) for audience in needed)
        bucket = f"('0x' || substr(md5({literal(self.audience.spec.holdout_salt + ':')} || user_id), 1, 8))::bigint % {BUCKETS}"
        return (
            f"create temporary table previewed as with {ctes}\n"
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

    def _tag_sql(self, tag: Tag) -> str:
        value = "value"
        if tag.type is ValueType.BOOLEAN:
            value = "value = 'true'"
        elif tag.type is not ValueType.TEXT:
            value = f"cast(value as {self.columns[tag.spec.column or ''].sql_type})"
        return f"max(case when tag = {literal(tag.code)} then {value} end)"

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
        if not self.one("select count(*) from audience_definitions where audience = ?", [self.audience.name]):
            return None
        return int(self.one("select count(*) from audience_members where audience = ?", [self.audience.name]))

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
        ]
