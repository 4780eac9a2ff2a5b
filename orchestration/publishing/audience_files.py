"""Audience files: who is in an audience, for people (CSV, XLSX) and for machines (Parquet).

A folder `exports/<audience>/<as_of>/` is an export only while its `manifest.json` is there: the manifest is removed
before a file changes and comes back when all files are whole. Held-out members are counted, never listed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from orchestration.errors import JingxiError, PublishError, UsageError
from orchestration.home import Home
from orchestration.publishing import database
from orchestration.publishing.audience_guard import SizeGuard, hold_back
from orchestration.publishing.database import Place, name
from orchestration.publishing.pair import open_pair
from orchestration.publishing.publication import Publication
from orchestration.settings import Settings, load_settings
from orchestration.writing import cells, csv_files, files
from orchestration.writing.xlsx import CellKind, SheetColumn, display_width, write_xlsx

ColumnKind = Literal["wide", "tag", "identifier"]
FileFormat = Literal["csv", "xlsx", "parquet", "csv_machine"]

FILE_NAMES: dict[FileFormat, str] = {
    "csv": "audience.csv",
    "xlsx": "audience.xlsx",
    "parquet": "audience.parquet",
    "csv_machine": "audience_machine.csv",
}
MANIFEST_FORMAT = 1

_NAME = re.compile(r"^[a-z0-9_-]{1,64}$")
_WIDEST_COLUMN = 48
_INTEGER_TYPES = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UINTEGER"})
_TAG_SEPARATOR = "; "


@dataclass(frozen=True)
class ExportColumn:
    """A column of the file.

    kind wide: `name` is a column of `user_wide` (or `user_id`, `entered_date`, `rank` of the membership);
    tag: `name` is a tag; identifier: `name` is an id_type, of which the latest seen one of each user is taken.
    `label` is the header for people, the name when empty. `values` are pairs of a value's code and what people call it:
    the sheet shows the latter, all other files keep codes.
    """

    name: str
    kind: ColumnKind = "wide"
    label: str = ""
    values: tuple[tuple[str, str], ...] = ()

    @property
    def header(self) -> str:
        """What people read above the column."""
        return self.label or self.name


@dataclass(frozen=True)
class AudienceExport:
    """An audience as its files need it. `definition` is text or anything that JSON can hold."""

    name: str
    title: str
    columns: tuple[ExportColumn, ...] = (ExportColumn("user_id"),)
    formats: tuple[FileFormat, ...] = ("csv", "xlsx", "parquet")
    definition: Any = ""
    definition_hash: str = ""
    guard: SizeGuard | None = None

    def hash(self) -> str:
        """SHA-256 of the definition, unless the declarer gave one."""
        return self.definition_hash or hashlib.sha256(_definition_text(self.definition).encode()).hexdigest()


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export."""

    path: Path
    format: FileFormat
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportResult:
    """What the folder holds now: `rows` users listed in each file, `held_out` members left out of them."""

    audience: str
    as_of: dt.date
    folder: Path
    rows: int
    held_out: int
    files: tuple[ExportedFile, ...]
    unchanged: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "audience": self.audience,
            "as_of": self.as_of.isoformat(),
            "folder": str(self.folder),
            "rows": self.rows,
            "held_out": self.held_out,
            "unchanged": self.unchanged,
            "files": [{**vars(file), "path": str(file.path)} for file in self.files],
        }


@dataclass(frozen=True)
class _Field:
    """A column of the prepared rows: its SQL type, its name in files for machines, its header for people."""

    column: ExportColumn
    sql_type: str
    name: str
    header: str

    @property
    def kind(self) -> CellKind:
        own, type_name = self.column.name, self.sql_type
        if self.column.kind != "wide" or own.endswith("_id"):
            return "text"
        if type_name in _INTEGER_TYPES:
            return "integer"
        if type_name.startswith("DECIMAL") or type_name in {"DOUBLE", "FLOAT"}:
            return "rate" if re.search(r"_(rate|share)(_\d+d)?$", own) else "number"
        if type_name == "DATE":
            return "date"
        if type_name.startswith("TIMESTAMP"):
            return "timestamp"
        return "boolean" if type_name == "BOOLEAN" else "text"

    @property
    def sheet_kind(self) -> CellKind:
        """The kind of its cells in a sheet: a value with a name is text."""
        return "text" if self.column.values else self.kind


def write_audience_files(
    home: Home,
    audience: AudienceExport,
    *,
    as_of: dt.date | None = None,
    formats: Sequence[FileFormat] | None = None,
    settings: Settings | None = None,
    accept: bool = False,
) -> ExportResult:
    """Write the files of an audience from the published marts.

    `as_of`, when given, must be the published day. `formats` overrides those of the audience; formats that an
    earlier export of this day wrote are written again, so that the manifest covers all files of the folder.
    Files that would get the same bytes are left untouched. `settings` are those of the home by default.
    `accept`: a person has seen the size, so the audience's guard is not asked.

    Raises UsageError for a name, column or format that does not exist, JingxiError when nothing fitting is
    published, HeldError when the size is beyond the guard, PublishError when the files cannot be written.
    """
    wanted = _check(audience, formats)
    settings = settings or load_settings(home)[0]
    with open_pair(home, settings, then="export") as (session, publication):
        if as_of is not None and as_of != publication.as_of:
            raise JingxiError(
                f"The published marts describe {publication.as_of}, not {as_of}: "
                f"run `jingxi run --as-of {as_of}` or leave the day out."
            )
        if audience.guard and not accept:
            members = _members_count(session, audience.name, publication.as_of)
            hold_back(home, audience.name, audience.guard, publication.as_of, members)
        folder = _folder(home, audience.name, publication.as_of)
        try:
            with _locked(folder):
                return _Export(session, settings, audience, publication, folder).write(wanted)
        except JingxiError:
            raise
        except (OSError, duckdb.Error) as error:
            raise PublishError(
                f"The files of the audience {audience.name} could not be written to {folder}: "
                f"{database.reason(error)}. Repair the cause, then export again."
            ) from error


def _members_count(session: duckdb.DuckDBPyConnection, audience: str, as_of: dt.date) -> int:
    if "audience_members" not in database.tables(session, Place("marts", "main")):
        raise JingxiError("The published marts hold no audience_members: run `jingxi run` first.")
    row = session.execute(
        "select count(*) from marts.main.audience_members where audience = ? and as_of_date = ?",
        [audience, as_of],
    ).fetchone()
    return int(row[0]) if row else 0


class _Export:
    """Writes one folder, which it has for itself."""

    def __init__(
        self,
        session: duckdb.DuckDBPyConnection,
        settings: Settings,
        audience: AudienceExport,
        publication: Publication,
        folder: Path,
    ) -> None:
        self.session = session
        self.zone = settings.business_timezone
        self.audience = audience
        self.publication = publication
        self.folder = folder
        self.work = folder / "work.part"
        self.notes: dict[FileFormat, dict[str, Any]] = {}

    def write(self, wanted: Sequence[FileFormat]) -> ExportResult:
        _sweep(self.folder)
        manifest_file = self.folder / "manifest.json"
        old = files.read_json(manifest_file)
        formats = _with_earlier(wanted, old)
        if old is not None and self._is_done(old, formats):
            return self._result(old, unchanged=True)
        self.work.mkdir(mode=0o700)
        try:
            self.session.execute(f"set temp_directory = {database.text(str(self.work / 'spill'))}")
            self.fields = self._prepare()
            counts = self._counts()
            writers = {
                "csv": self._write_csv,
                "csv_machine": self._write_machine_csv,
                "xlsx": self._write_xlsx,
                "parquet": self._write_parquet,
            }
            self.counts = counts
            for file_format in formats:
                part = self.folder / f"{FILE_NAMES[file_format]}.part"
                self.notes[file_format] = writers[file_format](part)
                part.chmod(0o600)
                files.flush_file(part)
            manifest = self._manifest(formats)
            unchanged = self._is_unchanged(old, manifest)
            if not unchanged:
                self._switch(manifest_file, manifest)
        finally:
            _sweep(self.folder)
        return self._result(manifest, unchanged=unchanged)

    def _result(self, manifest: dict[str, Any], *, unchanged: bool) -> ExportResult:
        return ExportResult(
            audience=self.audience.name,
            as_of=self.publication.as_of,
            folder=self.folder,
            rows=manifest["count"],
            held_out=manifest["holdout"],
            files=tuple(
                ExportedFile(self.folder / file["name"], file["format"], file["bytes"], file["sha256"])
                for file in manifest["files"]
            ),
            unchanged=unchanged,
        )

    def _order_hash(self) -> str:
        """SHA-256 of everything but the marts that the files follow from."""
        declared = {**dataclasses.asdict(self.audience), "guard": None}  # says whether, not what
        order = [MANIFEST_FORMAT, self.zone, declared, duckdb.__version__]
        return hashlib.sha256(_definition_text(order).encode()).hexdigest()

    def _is_done(self, old: dict[str, Any], formats: Sequence[FileFormat]) -> bool:
        """Whether these files were made to the same order from this very publication, and are whole."""
        try:
            return (
                old["publication"]["version"] == self.publication.version
                and old["order_hash"] == self._order_hash()
                and [file["format"] for file in old["files"]] == formats
                and self._is_whole(old)
            )
        except (KeyError, TypeError):
            return False

    def _is_whole(self, manifest: dict[str, Any]) -> bool:
        return all(
            files.is_intact(self.folder / file["name"], file["bytes"], file["sha256"])
            for file in manifest["files"]
        )

    def _prepare(self) -> list[_Field]:
        """Make the temporary tables `members` (with holdout) and `rows` (what the files list, in their order)."""
        marts = database.tables(self.session, Place("marts", "main"))
        for needed in ("audience_members", "user_wide", "user_tags"):
            if needed not in marts:
                raise JingxiError(f"The published marts hold no {needed}: run `jingxi run` first.")
        has_rank = "rank" in marts["audience_members"].column_names
        self.session.execute(
            "create or replace temp table members as "
            f"select user_id, entered_date, is_holdout, {'rank' if has_rank else 'null::bigint as rank'} "
            "from marts.main.audience_members where audience = ? and as_of_date = ?",
            [self.audience.name, self.publication.as_of],
        )
        self._prepare_tags()
        self._prepare_identifiers()
        expressions = [
            f"{self._expression(column, marts['user_wide'].column_names)} as c{position}"
            for position, column in enumerate(self.audience.columns)
        ]
        self.session.execute(
            f"create or replace temp table rows as select {', '.join(expressions)}, "
            "row_number() over (order by members.rank nulls last, members.user_id) as position "
            "from members "
            "left join marts.main.user_wide as wide on wide.user_id = members.user_id "
            "left join member_tags on member_tags.user_id = members.user_id "
            "left join member_identifiers on member_identifiers.user_id = members.user_id "
            "where not members.is_holdout order by position"
        )
        described = self.session.execute("describe rows").fetchall()
        types = [str(row[1]) for row in described[: len(self.audience.columns)]]
        return [
            _Field(column, sql_type, own, header)
            for column, sql_type, own, header in zip(
                self.audience.columns, types, _names(self.audience), _headers(self.audience), strict=True
            )
        ]

    def _columns(self, kind: ColumnKind) -> list[tuple[int, str]]:
        return [(i, column.name) for i, column in enumerate(self.audience.columns) if column.kind == kind]

    def _prepare_tags(self) -> None:
        """One row per member, the values of a tag in one text, the strongest first."""
        wanted = self._columns("tag")
        tables = database.tables(self.session, Place("marts", "main"))
        catalogues = [table for table in ("tag_definitions", "tags") if table in tables]
        known = " union ".join(f"select tag from marts.main.{table}" for table in ["user_tags", *catalogues])
        for _, tag in wanted:
            found = self.session.execute(f"select 1 from ({known}) as known where tag = ? limit 1", [tag])
            if not found.fetchone():
                raise UsageError(
                    f"The audience {self.audience.name} exports the tag {tag}, which does not exist."
                )
        aggregates = "".join(
            f", string_agg(coalesce(cast(value as varchar), 'true'), {database.text(_TAG_SEPARATOR)} "
            f"order by weight desc nulls last, value) filter (where tag = {database.text(tag)}) as tag_{position}"
            for position, tag in wanted
        )
        tags = ", ".join(database.text(tag) for _, tag in wanted) or "null"
        self.session.execute(
            f"create or replace temp table member_tags as select user_id{aggregates} "
            f"from marts.main.user_tags semi join members using (user_id) where tag in ({tags}) group by user_id"
        )

    def _prepare_identifiers(self) -> None:
        """One row per member: the latest seen identifier of each type, the smallest of several equally late."""
        wanted = self._columns("identifier")
        private = database.tables(self.session, Place("private", "main"))
        if "user_identifiers" not in private:
            raise JingxiError("The published private file holds no user_identifiers: run `jingxi run` first.")
        seen = (
            "last_seen_at desc nulls last, "
            if "last_seen_at" in private["user_identifiers"].column_names
            else ""
        )
        aggregates = "".join(
            f", first(id order by {seen}id) filter (where id_type = {database.text(id_type)}) as id_{position}, "
            f"count(*) filter (where id_type = {database.text(id_type)}) as several_{position}"
            for position, id_type in wanted
        )
        types = ", ".join(database.text(id_type) for _, id_type in wanted) or "null"
        self.session.execute(
            f"create or replace temp table member_identifiers as select user_id{aggregates} "
            "from private.main.user_identifiers semi join members using (user_id) "
            f"where id_type in ({types}) group by user_id"
        )

    def _expression(self, column: ExportColumn, wide_columns: Sequence[str]) -> str:
        position = self.audience.columns.index(column)
        if column.kind == "tag":
            return f"member_tags.tag_{position}"
        if column.kind == "identifier":
            return f"member_identifiers.id_{position}"
        if column.name in {"user_id", "entered_date", "rank"}:
            return f"members.{column.name}"
        if column.name not in wide_columns:
            raise UsageError(
                f"The audience {self.audience.name} exports the column {column.name}, "
                "which user_wide does not have."
            )
        return f"wide.{name(column.name)}"

    def _counts(self) -> dict[str, int]:
        members, holdout = self.session.execute(
            "select count(*), count(*) filter (where is_holdout) from members"
        ).fetchone() or (0, 0)
        return {"members": members, "holdout": holdout, "rows": members - holdout}

    # --- human profile ---

    def _human(self, position: int, field: _Field) -> str:
        """SQL of the typed value as people see it: business time, no endless numbers."""
        own = f"c{position}"
        if field.kind == "timestamp":
            instant = own if "ZONE" in field.sql_type else f"timezone('UTC', cast({own} as timestamp))"
            return f"timezone({database.text(self.zone)}, {instant})"
        if field.sql_type in {"DOUBLE", "FLOAT"} and field.kind != "text":
            return f"case when isfinite({own}) then {own} end"
        return f"cast({own} as varchar)" if field.kind == "text" else own

    def _write_csv(self, part: Path) -> dict[str, Any]:
        expressions = []
        text_columns = []
        for position, field in enumerate(self.fields):
            own = self._human(position, field)
            if field.kind == "text":
                text_columns.append((position, field, own))
                own = cells.sql_human_csv_text(own)
            elif field.kind == "timestamp":
                own = f"strftime({own}, '%Y-%m-%d %H:%M:%S')"
            expressions.append(own)
        header = csv_files.human_header([field.header for field in self.fields])
        self._copy_csv(part, expressions, header, newline="\\r\\n")
        return {
            "profile": "human",
            "encoding": "UTF-8 with BOM",
            "newline": "CRLF",
            "time_zone": self.zone,
            "rules": list(csv_files.HUMAN_RULES),
            "changed_cells": self._changed_cells(text_columns),
        }

    def _changed_cells(self, text_columns: Sequence[tuple[int, _Field, str]]) -> list[dict[str, Any]]:
        """Columns in which the rules changed cells, with how many."""
        if not text_columns:
            return []
        counts = ", ".join(
            f"count(*) filter (where {condition(own)})"
            for _, _, own in text_columns
            for condition in (cells.sql_starts_like_formula, cells.sql_digits_at_risk)
        )
        row = self.session.execute(f"select {counts} from rows").fetchone() or ()
        return [
            {"column": field.name, "apostrophe": row[2 * at], "tab": row[2 * at + 1]}
            for at, (_, field, _) in enumerate(text_columns)
            if row[2 * at] or row[2 * at + 1]
        ]

    def _labelled(self, position: int, field: _Field) -> str:
        """SQL of the value by the name that people know it by, else as it is."""
        own = self._human(position, field)
        if not field.column.values:
            return own
        names = " ".join(
            f"when {database.text(code)} then {database.text(label)}" for code, label in field.column.values
        )
        text = f"cast({own} as varchar)"
        if field.column.kind == "tag":  # several values stand in one cell
            separator = database.text(_TAG_SEPARATOR)
            each = f"lambda one: case one {names} else one end"
            return f"array_to_string(list_transform(string_split({text}, {separator}), {each}), {separator})"
        return f"case {text} {names} else {text} end"

    def _write_xlsx(self, part: Path) -> dict[str, Any]:
        expressions = [self._labelled(position, field) for position, field in enumerate(self.fields)]
        cursor = self.session.execute(f"select {self._widths(expressions)} from rows").fetchone() or ()
        columns = [
            SheetColumn(field.header, expression, field.sheet_kind, _width(field, longest))
            for field, expression, longest in zip(self.fields, expressions, cursor, strict=True)
        ]
        temp_folder = self.work / "xlsx"
        temp_folder.mkdir(mode=0o700)
        result = write_xlsx(
            part,
            session=self.session,
            rows="rows",
            sheet_name="名单",
            columns=columns,
            about_name="说明",
            about=self._about(),
            created=dt.datetime.combine(self.publication.as_of, dt.time()),
            temp_folder=temp_folder,
        )
        notes: dict[str, Any] = {
            "profile": "human",
            "sheets": result.sheets,
            "time_zone": self.zone,
            "rules": ["texts are text cells; one that starts like a formula carries the quote prefix"],
        }
        if result.shortened_cells:
            notes["shortened_cells"] = result.shortened_cells
        return notes

    def _widths(self, expressions: Sequence[str]) -> str:
        """SQL of the display width of the longest value: one for a narrow character, two for a wide one."""
        shown = [f"cast({expression} as varchar)" for expression in expressions]
        return ", ".join(f"max((strlen({own}) + length({own})) // 2)" for own in shown)

    def _about(self) -> list[tuple[str, str]]:
        lines = [
            ("人群 Audience", f"{self.audience.title} ({self.audience.name})"),
            ("统计日 As of", self.publication.as_of.isoformat()),
            ("名单人数 Rows", f"{self.counts['rows']}"),
            ("对照组（不在名单）Held out", f"{self.counts['holdout']}"),
            ("定义 Definition", _definition_text(self.audience.definition, readable=True)),
            ("定义哈希 Definition hash", self.audience.hash()),
            ("时区 Time zone", self.zone),
            ("", ""),
            ("列 Column", "来源 Source"),
        ]
        sources = {"wide": "user_wide", "tag": "user_tags", "identifier": "user_identifiers"}
        for field in self.fields:
            source = f"{sources[field.column.kind]}.{field.column.name}"
            names = ", ".join(f"{label} = {code}" for code, label in field.column.values)
            lines.append((field.header, f"{source} ({names})" if names else source))
        return lines

    # --- machine profile ---

    def _raw(self) -> list[str]:
        return [f"c{position} as {name(field.name)}" for position, field in enumerate(self.fields)]

    def _write_machine_csv(self, part: Path) -> dict[str, Any]:
        header = csv_files.machine_header([field.name for field in self.fields])
        expressions = [f"c{position}" for position in range(len(self.fields))]
        self._copy_csv(part, expressions, header, newline="\\n")
        return {"profile": "machine", "encoding": "UTF-8", "newline": "LF", "time_zone": "UTC"}

    def _write_parquet(self, part: Path) -> dict[str, Any]:
        self.session.execute(
            f"copy (select {', '.join(self._raw())} from rows order by position) "
            f"to {database.text(str(part))} (format parquet, compression zstd)"
        )
        return {"profile": "machine", "time_zone": "UTC"}

    def _copy_csv(self, part: Path, expressions: Sequence[str], header: bytes, *, newline: str) -> None:
        csv_files.write_rows(
            part,
            session=self.session,
            rows="rows",
            expressions=expressions,
            header=header,
            newline=newline,
            body=self.work / "rows.csv",
        )

    # --- manifest and switch ---

    def _manifest(self, formats: Sequence[FileFormat]) -> dict[str, Any]:
        filled = (
            self.session.execute(
                f"select {', '.join(f'count(c{position})' for position in range(len(self.fields)))} from rows"
            ).fetchone()
            or ()
        )
        columns: list[dict[str, Any]] = []
        for position, field in enumerate(self.fields):
            entry: dict[str, Any] = {
                "name": field.name,
                "source": field.column.name,
                "kind": field.column.kind,
                "label": field.header,
                "type": field.sql_type,
                "filled": filled[position],
            }
            if field.column.kind == "identifier":
                several = self.session.execute(
                    f"select count(*) filter (where ids.several_{position} > 1) "
                    "from members join member_identifiers as ids using (user_id) where not is_holdout"
                ).fetchone() or (0,)
                entry["users_with_several"] = several[0]
            columns.append(entry)
        return {
            "format": MANIFEST_FORMAT,
            "audience": self.audience.name,
            "title": self.audience.title,
            "as_of_date": self.publication.as_of.isoformat(),
            "count": self.counts["rows"],
            "members": self.counts["members"],
            "holdout": self.counts["holdout"],
            "definition": self.audience.definition,
            "definition_hash": self.audience.hash(),
            "order_hash": self._order_hash(),
            "columns": columns,
            "files": [
                {
                    "name": FILE_NAMES[file_format],
                    "format": file_format,
                    "rows": self.counts["rows"],
                    "bytes": (part := self.folder / f"{FILE_NAMES[file_format]}.part").stat().st_size,
                    "sha256": files.sha256(part),
                    **self.notes[file_format],
                }
                for file_format in formats
            ],
            "publication": {
                "version": self.publication.version,
                "input_hash": self.publication.input_hash,
                "published_at": self.publication.published_at.isoformat(timespec="microseconds") + "Z",
            },
        }

    def _is_unchanged(self, old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
        """Whether the folder holds these bytes already; which publication they came from does not matter."""
        if old is None or {**old, "publication": None} != {
            **json.loads(json.dumps(new)),
            "publication": None,
        }:
            return False
        return self._is_whole(new)

    def _switch(self, manifest_file: Path, manifest: dict[str, Any]) -> None:
        manifest_file.unlink(missing_ok=True)
        files.flush_folder(self.folder)
        for file in manifest["files"]:
            target = self.folder / file["name"]
            if not files.is_intact(target, file["bytes"], file["sha256"]):
                self.folder.joinpath(file["name"] + ".part").replace(target)
        files.flush_folder(self.folder)
        files.write_json(manifest_file, manifest, mode=0o600)


def _check(audience: AudienceExport, formats: Sequence[FileFormat] | None) -> tuple[FileFormat, ...]:
    if not _NAME.fullmatch(audience.name):
        raise UsageError(
            f"{audience.name!r} cannot name an audience: use 1 to 64 of a-z, 0-9, hyphen and underscore."
        )
    wanted = tuple(dict.fromkeys(formats if formats is not None else audience.formats))
    unknown = [file_format for file_format in wanted if file_format not in FILE_NAMES]
    if unknown or not wanted:
        raise UsageError(f"{', '.join(unknown) or 'No format'}: choose formats from {', '.join(FILE_NAMES)}.")
    if not audience.columns:
        raise UsageError(f"The audience {audience.name} exports no column: declare at least one.")
    asked = [(column.kind, column.name.lower()) for column in audience.columns]
    repeated = sorted({own for kind, own in asked if asked.count((kind, own)) > 1})
    if repeated:
        raise UsageError(
            f"The audience {audience.name} exports {', '.join(repeated)} twice: name each column once."
        )
    return wanted


def _with_earlier(wanted: Sequence[FileFormat], old: dict[str, Any] | None) -> list[FileFormat]:
    """The wanted formats and those of the earlier manifest, in the fixed order of formats."""
    earlier = {file.get("format") for file in (old or {}).get("files", ()) if isinstance(file, dict)}
    return [file_format for file_format in FILE_NAMES if file_format in wanted or file_format in earlier]


def _folder(home: Home, audience: str, as_of: dt.date) -> Path:
    """The folder of the export, made for the owner only."""
    folder = home.exports / audience / as_of.isoformat()
    if not folder.resolve().is_relative_to(home.exports.resolve()):
        raise UsageError(f"The folder {folder} leads out of {home.exports}: remove the link.")
    try:
        home.exports.mkdir(parents=True, exist_ok=True)
        for level in (folder.parent, folder):
            level.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PublishError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have the folder alone; another export of the same audience and day waits."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for leftover in folder.glob("*.part"):
        files.remove(leftover)


def _names(audience: AudienceExport) -> list[str]:
    """Names in files for machines; a tag or an identifier called like another column gets its kind in front."""
    taken: set[str] = {column.name.lower() for column in audience.columns if column.kind == "wide"}
    names = []
    for column in audience.columns:
        own = column.name
        if column.kind != "wide":
            while own.lower() in taken:
                own = f"{column.kind}_{own}"
            taken.add(own.lower())
        names.append(own)
    return names


def _headers(audience: AudienceExport) -> list[str]:
    """Headers for people; where two columns share one, the name follows in brackets."""
    headers = [column.header for column in audience.columns]
    return [
        header if headers.count(header) == 1 else f"{header} ({own})"
        for header, own in zip(headers, _names(audience), strict=True)
    ]


def _width(field: _Field, longest: int | None) -> int:
    """Width of a sheet column in characters."""
    header = display_width(field.header) + 4
    shown = {"date": 10, "timestamp": 16, "boolean": 6, "rate": 8}.get(
        field.sheet_kind, int(longest or 0) + 2
    )
    if field.sheet_kind == "number":
        shown += 3
    return max(8, min(max(header, shown) + 1, _WIDEST_COLUMN))


def _definition_text(definition: Any, *, readable: bool = False) -> str:
    if isinstance(definition, str):
        return definition
    return json.dumps(
        definition, ensure_ascii=False, indent=2 if readable else None, sort_keys=not readable, default=str
    )
