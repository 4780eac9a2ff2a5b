"""Everything that is published about one user, in one look: who, tags and why, timeline, messages, segments and why.

Read from one published version. Identifiers and the name are masked unless they are asked for. The identifier that
somebody typed is personal data: it is bound to queries and never part of a message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.errors import JingxiError, UsageError
from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.publishing.identifiers import earlier_user_ids, find_users, masked
from orchestration.publishing.labels import (
    COLUMN_FAMILIES,
    COLUMN_LABELS,
    IDENTIFIER_LABELS,
    TOUCH_LABELS,
    VALUE_LABELS,
    activity_label,
    column_title,
)
from orchestration.publishing.pair import open_pair
from orchestration.publishing.publication import Publication
from orchestration.settings import Settings
from orchestration.specs.audiences import Audience
from orchestration.specs.catalog import Segment, ValueType, read_identifier_types
from orchestration.specs.documents import nearest
from orchestration.specs.loader import load_audiences, load_project, load_tags
from orchestration.specs.predicates import Facts
from orchestration.specs.reasons import Reason, explain
from orchestration.specs.tags import Tag

_METRICS = (("r", "recency_days"), ("f", "frequency"), ("m", "monetary"))


@dataclass(frozen=True)
class Fact:
    """One column of the user wide table. `label` and `title` name it in Chinese and English; `meaning` is the label of a
    coded value, if it has one."""

    column: str
    label: str
    title: str
    value: Any
    meaning: tuple[str, str] | None = None


@dataclass(frozen=True)
class Family:
    """One family of columns, only those with a value."""

    name: str
    label: str
    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Identifier:
    """An identifier of the user, masked unless asked otherwise."""

    id_type: str
    label: str
    shown: str
    last_seen_on: dt.date


@dataclass(frozen=True)
class TagFact:
    """A tag that is set. `why` are the conditions that set it, None when the rule changed after the publication."""

    tag: str
    label: str
    title: str
    category: str
    value: str
    meaning: tuple[str, str] | None
    weight: float
    set_on: dt.date
    confirmed_on: dt.date
    expires_on: dt.date | None
    evidence_count: int
    rule: str
    why: tuple[Reason, ...] | None


@dataclass(frozen=True)
class Activity:
    """One thing that the user did or that happened, in business time."""

    at: dt.datetime
    activity: str
    label: str
    title: str
    channel: str | None
    touchpoint: str | None
    about: str | None
    campaign: str | None
    amount: Decimal | None


@dataclass(frozen=True)
class Touch:
    """One message to the user: its furthest status, and when each status was reached, in business time."""

    touch_id: str
    at: dt.datetime
    channel: str | None
    about: str | None
    campaign: str | None
    status: str
    label: str
    title: str
    reached: dict[str, dt.datetime]


@dataclass(frozen=True)
class RfmPart:
    """One of recency, frequency and money: the value, its score, what it was compared with, and the verdict."""

    metric: str
    value: Any
    score: int
    compared: str
    against: Decimal | None
    is_high: bool


@dataclass(frozen=True)
class Rfm:
    """The RFM cell and why the user is in it."""

    cell: str
    label: str
    title: str
    strategy_zh: str | None
    strategy_en: str | None
    method: str
    parts: tuple[RfmPart, ...]


@dataclass(frozen=True)
class Membership:
    """An audience that the user is in."""

    audience: str
    label: str
    title: str
    entered_on: dt.date
    is_held_out: bool


@dataclass(frozen=True)
class AudienceReason:
    """Why the user is, or is not, in one audience. `suppressed` are the reasons for which members are left out."""

    audience: str
    title: str
    is_member: bool
    meets: Reason
    suppressed: tuple[tuple[str, Reason], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class UserProfile:
    """One user as published. Moments are business time without a zone."""

    user_id: str
    found_as: tuple[str, ...]
    as_of: dt.date
    version: str
    currency: str
    name: str | None
    earlier_ids: tuple[str, ...]
    identifiers: tuple[Identifier, ...]
    families: tuple[Family, ...]
    tags: tuple[TagFact, ...]
    timeline: tuple[Activity, ...]
    touches: tuple[Touch, ...]
    rfm: Rfm | None
    audiences: tuple[Membership, ...]
    why: AudienceReason | None
    notes: tuple[str, ...] = field(default=())

    def fact(self, column: str) -> Fact | None:
        """A column that has a value."""
        return next(
            (fact for family in self.families for fact in family.facts if fact.column == column), None
        )

    def to_dict(self) -> dict[str, Any]:
        """The profile as nested plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Question:
    """What is asked: an identifier as somebody types it, its kind if they know it, and what to show."""

    identifier: str
    id_type: str | None = None
    why: str | None = None
    show_identifiers: bool = False


def user_profile(
    question: Question, home: Home, settings: Settings, *, dbt_dir: Path = DBT_PROJECT_DIR
) -> UserProfile:
    """The profile of the one user who has an identifier.

    Raises UsageError for an empty identifier, a kind or an audience that does not exist, or when several users have the
    identifier; JingxiError when nobody has it or nothing fitting is published. No message repeats the identifier.
    """
    if not question.identifier.strip():
        raise UsageError("The identifier is empty.")
    kinds = (*read_identifier_types(dbt_dir.parent / "seeds"), "user_id")
    if question.id_type is not None and question.id_type not in kinds:
        raise UsageError(f"There is no such kind of identifier; --type takes {', '.join(kinds)}.")
    specs = _Specs.load(dbt_dir)
    if question.why is not None:
        specs.audience(question.why)
    with open_pair(home, settings, then="ask") as (session, publication):
        try:
            found = find_users(session, question.identifier.strip(), question.id_type)
            users = list(dict.fromkeys(user for user, _ in found))
            if not users:
                looked = f" as {question.id_type}" if question.id_type else ""
                raise JingxiError(f"Nobody has this identifier{looked} as of {publication.as_of}.")
            if len(users) > 1:
                several = ", ".join(dict.fromkeys(kind for _, kind in found))
                raise UsageError(
                    f"{len(users)} users have this identifier: as {several}. Name the kind with --type."
                )
            found_as = tuple(dict.fromkeys(kind for _, kind in found))
            return _Reader(session, publication, settings, specs, users[0]).profile(question, found_as)
        except duckdb.Error as error:
            # The engine's own words may repeat values.
            raise JingxiError(
                f"The marts published in {home.path} do not fit this version of Jingxi: run `jingxi run` first."
            ) from (error if isinstance(error, (duckdb.CatalogException, duckdb.BinderException)) else None)


@dataclass(frozen=True)
class _Specs:
    """The declared rules, or why they cannot be read: a broken spec takes reasons away, not the profile."""

    tags: Mapping[str, Tag]
    audiences: Mapping[str, Audience]
    segments: Mapping[str, Segment]
    broken: JingxiError | None = None

    @classmethod
    def load(cls, dbt_dir: Path) -> _Specs:
        try:
            project = load_project(dbt_dir)
            return cls(load_tags(project), load_audiences(project), project.segments)
        except JingxiError as error:
            return cls({}, {}, {}, error)

    def audience(self, name: str) -> Audience:
        if self.broken:
            raise self.broken
        if name not in self.audiences:
            raise UsageError(f"There is no audience {name!r}; {nearest(name, sorted(self.audiences))}")
        return self.audiences[name]


class _Reader:
    def __init__(
        self,
        session: duckdb.DuckDBPyConnection,
        publication: Publication,
        settings: Settings,
        specs: _Specs,
        user_id: str,
    ) -> None:
        self.session = session
        self.publication = publication
        self.settings = settings
        self.specs = specs
        self.user_id = user_id

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a question; `?` is the user unless parameters are given."""
        cursor = self.session.execute(sql, list(parameters) or [self.user_id])
        names = [str(column[0]) for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def local(self, moment: dt.datetime) -> dt.datetime:
        """A moment in UTC as business time."""
        return moment.replace(tzinfo=dt.UTC).astimezone(self.settings.zone).replace(tzinfo=None)

    def day(self, moment: dt.datetime) -> dt.date:
        return self.local(moment).date()

    def profile(self, question: Question, found_as: tuple[str, ...]) -> UserProfile:
        wide = self.rows("select * from marts.main.user_wide where user_id = ?")
        if not wide:
            raise JingxiError(f"The user is not in user_wide as of {self.publication.as_of}.")
        row = wide[0]
        timeline = self.rows("select * from marts.main.user_timeline where user_id = ? order by position")
        tag_rows = self._tag_rows()
        memberships = self._memberships()
        facts = Facts(
            row,
            {tag["tag"]: self._typed(tag["tag"], tag["value"]) for tag in tag_rows},
            {membership.audience for membership in memberships},
            self.publication.as_of,
            self._segments(),
            self.rows("select * from marts.main.user_activities where user_id = ? order by all"),
            [
                attempt | {"entered_date": self.day(attempt["entered_at"])}
                for attempt in self.rows("select * from marts.main.funnel_users where user_id = ?")
            ],
        )
        notes = []
        if self.specs.broken:
            notes.append("The specs cannot be read, so tags come without reasons: run `jingxi compile`.")
        return UserProfile(
            user_id=self.user_id,
            found_as=found_as,
            as_of=self.publication.as_of,
            version=self.publication.version,
            currency=self.settings.currency,
            name=self._name(show=question.show_identifiers),
            earlier_ids=tuple(earlier_user_ids(self.session, self.user_id)),
            identifiers=self._identifiers(show=question.show_identifiers),
            families=self._families(row),
            tags=tuple(self._tag(tag, facts) for tag in tag_rows),
            timeline=tuple(self._activity(entry) for entry in timeline if entry["touch_id"] is None),
            touches=self._touches([entry for entry in timeline if entry["touch_id"] is not None]),
            rfm=self._rfm(),
            audiences=tuple(memberships),
            why=self._why(question.why, facts) if question.why else None,
            notes=tuple(notes),
        )

    def _segments(self) -> dict[str, Any]:
        """The user's value in each segmentation."""
        values = {}
        for name, segment in self.specs.segments.items():
            column = segment.column.name
            rows = self.rows(f"select {column} from marts.main.{segment.table} where user_id = ?")
            values[name] = rows[0][column] if rows else None
        return values

    # --- who ---

    def _name(self, *, show: bool) -> str | None:
        rows = self.rows("select name from private.main.user_names where user_id = ?")
        if not rows:
            return None
        return str(rows[0]["name"]) if show else masked("name", rows[0]["name"])

    def _identifiers(self, *, show: bool) -> tuple[Identifier, ...]:
        rows = self.rows(
            "select id_type, id, last_seen_at from private.main.user_identifiers where user_id = ? "
            "order by id_type, last_seen_at desc, id"
        )
        return tuple(
            Identifier(
                row["id_type"],
                IDENTIFIER_LABELS.get(row["id_type"], row["id_type"]),
                row["id"] if show else masked(row["id_type"], row["id"]),
                self.day(row["last_seen_at"]),
            )
            for row in rows
        )

    def _families(self, row: Mapping[str, Any]) -> tuple[Family, ...]:
        """The families in the table's order; a column belongs to the family that began last before it."""
        starts = {start: (name, label, title) for name, label, title, start in COLUMN_FAMILIES}
        facts: dict[tuple[str, str, str], list[Fact]] = {}
        current = COLUMN_FAMILIES[0][:3]
        for column, value in row.items():
            current = starts.get(column, current)
            if column in ("user_id", "as_of_date") or value is None:
                continue
            if isinstance(value, dt.datetime):
                value = self.local(value)
            meaning = VALUE_LABELS.get(column, {}).get(str(value))
            fact = Fact(column, COLUMN_LABELS.get(column, column), column_title(column), value, meaning)
            facts.setdefault(current, []).append(fact)
        return tuple(Family(*family, tuple(known)) for family, known in facts.items())

    # --- tags ---

    def _tag_rows(self) -> list[dict[str, Any]]:
        return self.rows(
            """
            select user_tags.*, definitions.title_zh, definitions.title_en, definitions.category_zh,
                definitions.category_en, definitions.category, definitions.value_type, definitions.rule,
                definitions.rule_hash, labels.title_zh as value_zh, labels.title_en as value_en
            from marts.main.user_tags as user_tags
            join marts.main.tag_definitions as definitions on definitions.tag = user_tags.tag
            left join marts.main.tags as labels on labels.tag = user_tags.tag and labels.value = user_tags.value
            where user_tags.user_id = ?
            order by definitions.category, definitions.family, user_tags.tag
            """
        )

    def _typed(self, code: str, value: str) -> Any:
        """A tag's value as rules compare it."""
        tag = self.specs.tags.get(code)
        if tag is None or tag.type is ValueType.TEXT:
            return value
        if tag.type is ValueType.BOOLEAN:
            return value == "true"
        return dt.date.fromisoformat(value) if tag.type is ValueType.DATE else Decimal(value)

    def _tag(self, row: Mapping[str, Any], facts: Facts) -> TagFact:
        is_labelled = row["value_zh"] is not None and row["value_type"] != "boolean"
        return TagFact(
            tag=row["tag"],
            label=row["title_zh"],
            title=row["title_en"],
            category=row["category_zh"],
            value=row["value"],
            meaning=(row["value_zh"], row["value_en"]) if is_labelled else None,
            weight=row["weight"],
            set_on=self.day(row["first_set_at"]),
            confirmed_on=self.day(row["last_confirmed_at"]),
            expires_on=self.day(row["expires_at"]) if row["expires_at"] else None,
            evidence_count=row["evidence_count"],
            rule=row["rule"],
            why=self._tag_reasons(row, facts),
        )

    def _tag_reasons(self, row: Mapping[str, Any], facts: Facts) -> tuple[Reason, ...] | None:
        """The conditions that hold in the rule, or case, that set the tag."""
        tag = self.specs.tags.get(row["tag"])
        if tag is None or tag.rule_hash != row["rule_hash"]:
            return None
        if tag.is_observed:
            last = self.local(row["last_confirmed_at"]).date().isoformat()
            subject = f"activities, the last one {row['last_activity']} on {last}"
            return (Reason("activity", True, subject, tag.words, row["evidence_count"]),)
        rule = tag.rule if tag.rule is not None else dict(tag.cases).get(row["value"])
        if rule is None:
            column = tag.spec.column or ""
            return (Reason("column", True, column, found=facts.row.get(column)),)
        return tuple(leaf for leaf in explain(rule, facts).leaves() if leaf.holds)

    # --- what happened ---

    def _activity(self, row: Mapping[str, Any]) -> Activity:
        label, title = activity_label(row["activity"])
        return Activity(
            at=self.local(row["occurred_at"]),
            activity=row["activity"],
            label=label,
            title=title,
            channel=row["channel"],
            touchpoint=row["touchpoint"],
            about=_first(row, "product_name", "content_title", "product_id", "content_id"),
            campaign=_first(row, "campaign_name", "campaign_id"),
            amount=row["amount"],
        )

    def _touches(self, rows: list[dict[str, Any]]) -> tuple[Touch, ...]:
        """Messages, the one that was last heard of first."""
        messages: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            messages.setdefault(row["touch_id"], []).append(row)
        order = list(TOUCH_LABELS)
        touches = []
        for touch_id, statuses in messages.items():
            reached = {
                row["activity"].removeprefix("touch_"): self.local(row["occurred_at"])
                for row in reversed(statuses)
            }
            status = max(reached, key=lambda name: order.index(name) if name in order else -1)
            label, title = TOUCH_LABELS.get(status, (status, status))
            newest = statuses[0]
            touches.append(
                Touch(
                    touch_id=touch_id,
                    at=min(reached.values()),
                    channel=newest["channel"],
                    about=_first(newest, "content_title", "content_id"),
                    campaign=_first(newest, "campaign_name", "campaign_id"),
                    status=status,
                    label=label,
                    title=title,
                    reached=reached,
                )
            )
        return tuple(touches)

    # --- segments ---

    def _rfm(self) -> Rfm | None:
        rows = self.rows("select * from marts.main.rfm_segments where user_id = ?")
        if not rows:
            return None
        row = rows[0]
        method = dict(part.split("=", 1) for part in row["method"].split() if "=" in part)
        split = method.get("split", "")
        function, compared = {
            "mean": ("avg", "mean score"),
            "raw_mean": ("avg", "mean"),
            "median": ("median", "median score"),
        }.get(split, (None, "score"))
        parts = []
        for metric, column in _METRICS:
            measured = column if split == "raw_mean" else f"{metric}_score"
            against = Decimal(method["cut"]) if "cut" in method else None
            if function:
                against = self._one(f"select {function}({measured}) from marts.main.rfm_segments")
            score, is_high = row[f"{metric}_score"], bool(row[f"{metric}_high"])
            parts.append(RfmPart(column, row[column], score, compared, against, is_high))
        return Rfm(
            row["cell"],
            row["cell_zh"],
            row["cell_en"],
            row["strategy_zh"],
            row["strategy_en"],
            row["method"],
            tuple(parts),
        )

    def _one(self, sql: str) -> Decimal | None:
        found = self.session.execute(sql).fetchone()
        return None if found is None or found[0] is None else round(Decimal(str(found[0])), 2)

    def _memberships(self) -> list[Membership]:
        return [
            Membership(
                row["audience"], row["title_zh"], row["title_en"], row["entered_date"], row["is_holdout"]
            )
            for row in self.rows(
                "select members.*, definitions.title_zh, definitions.title_en "
                "from marts.main.audience_members as members "
                "join marts.main.audience_definitions as definitions on definitions.audience = members.audience "
                "where members.user_id = ? order by members.entered_date desc, members.audience"
            )
        ]

    def _why(self, name: str, facts: Facts) -> AudienceReason:
        audience = self.specs.audience(name)
        spec = audience.spec
        is_member = name in facts.audiences
        meets = explain(audience.who, facts)
        suppressed = tuple((reason, explain(rule, facts)) for reason, rule in audience.suppress)
        notes = []
        published = self.rows(
            "select definition_hash from marts.main.audience_definitions where audience = ?", name
        )
        is_expired = spec.expires_on is not None and self.publication.as_of > spec.expires_on
        if not published:
            notes.append("It was declared after the last run; that run knew no members.")
        elif published[0]["definition_hash"] != audience.definition_hash:
            notes.append(
                "Its rule was changed after the last run; membership is still that of the earlier rule."
            )
        if is_expired:
            notes.append(f"It has no members after {spec.expires_on}.")
        fits = meets.holds and not is_expired and not any(rule.holds for _, rule in suppressed)
        if spec.limit is not None:
            ranks = ", then ".join(
                f"{column_title(rank.column).lower()} ({'highest' if rank.order == 'descending' else 'lowest'} first)"
                for rank in spec.rank_by
            )
            if fits and not is_member and not notes:
                notes.append(f"Only the first {spec.limit:,} by {ranks} are in; others come before.")
            else:
                notes.append(f"At most {spec.limit:,} users are in, by {ranks}.")
        elif fits != is_member and not notes:
            notes.append("The conditions are judged on the published marts; the next run decides anew.")
        return AudienceReason(
            name, f"{spec.title.en} · {spec.title.zh}", is_member, meets, suppressed, tuple(notes)
        )


def _first(row: Mapping[str, Any], *names: str) -> str | None:
    return next((str(row[name]) for name in names if row[name] is not None), None)
