"""What an adapter file may say, as typed models, and its loader.

Every error is one sentence that begins with the file and the line.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from orchestration.errors import UsageError
from orchestration.ingestion.contracts import TABLES_BY_NAME

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COLUMN_TYPE = re.compile(r"(text|integer|decimal|date|timestamp|instant)([!?]?)")


class ColumnType(StrEnum):
    """Type of a column of an input, with the DuckDB type it is read as."""

    TEXT = "VARCHAR"
    INTEGER = "BIGINT"
    DECIMAL = "DECIMAL(18,4)"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"  # a clock time without a zone, later read as business time
    INSTANT = "TIMESTAMPTZ"  # a moment: the text names its zone or offset


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


TextList = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class ColumnSpec(_Model):
    """One column of an input. Short form: the type alone, such as `decimal!`.

    `!` the column must be there and a record without a value is malformed; nothing: the column must be
    there, values may be empty; `?` the column may be missing.
    """

    type: str
    formats: TextList = Field(
        (), description="strptime formats of a date or timestamp, tried in order; default ISO"
    )
    empty: TextList = Field((), description="Texts that stand for no value, such as NaN")
    value: str | None = Field(
        None, description="SQL over the record's columns as they are in the file, before the type is applied"
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_type(self) -> ColumnSpec:
        if not _COLUMN_TYPE.fullmatch(self.type):
            raise ValueError(
                f"{self.type!r} is no type; write text, integer, decimal, date, timestamp or instant, "
                "with ! when every record needs it or ? when the column may be missing"
            )
        if self.formats and self.kind not in (ColumnType.DATE, ColumnType.TIMESTAMP):
            raise ValueError("formats are for the types date and timestamp")
        return self

    @property
    def kind(self) -> ColumnType:
        """The type without its mark."""
        return ColumnType[self.type.rstrip("!?").upper()]

    @property
    def is_required(self) -> bool:
        """Every record needs a value."""
        return self.type.endswith("!")

    @property
    def may_be_missing(self) -> bool:
        """A file without this column is fine."""
        return self.type.endswith("?")


class ArrivalSpec(_Model):
    """The day on which records were known: from the file's name or from a column."""

    file: str | None = Field(
        None, description="Regular expression whose first group is the day in a file's name"
    )
    column: str | None = Field(None, description="Date or timestamp column")
    format: str = Field("%Y-%m-%d", description="strptime format of the day in the file's name")

    @model_validator(mode="after")
    def _one_rule(self) -> ArrivalSpec:
        if (self.file is None) == (self.column is None):
            raise ValueError("give either file or column")
        if self.file is not None:
            try:
                groups = re.compile(self.file).groups
            except re.error as error:
                raise ValueError(f"file is no regular expression: {error}") from error
            if groups != 1:
                raise ValueError("file needs exactly one group in parentheses: the day")
        return self


class LocalText(_Model):
    """A text for people, in Chinese and English."""

    zh: str
    en: str

    @model_validator(mode="before")
    @classmethod
    def _one_text(cls, value: Any) -> Any:
        return {"zh": value, "en": value} if isinstance(value, str) else value


class ExclusionSpec(_Model):
    """Records that are left out on purpose. The first exclusion that holds counts."""

    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    text: LocalText
    where: str


class InputSpec(_Model):
    """Files of one kind."""

    files: TextList = Field(min_length=1, description="Globs below the source folder")
    take: Literal["all", "one"] = Field(
        "all",
        description="all files that match, or one: of the first glob that matches any, the first by name; "
        "the others are reported as not read",
    )
    optional: bool = False
    columns: dict[str, ColumnSpec] = Field(min_length=1)
    names: TextList = Field((), description="Column names for files without a header, in order")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Default: found from the first line"
    )
    encoding: str | None = Field(None, description="Default: UTF-8, else GB18030")
    arrived_on: ArrivalSpec | None = None
    exclude: tuple[ExclusionSpec, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> InputSpec:
        unknown = [name for name, spec in self.columns.items() if name.startswith("_")]
        if unknown:
            raise ValueError(f"column {unknown[0]!r}: names with a leading _ are Jingxi's own")
        if self.names:
            missing = [
                n for n, spec in self.columns.items() if n not in self.names and not spec.may_be_missing
            ]
            if missing:
                raise ValueError(f"names lacks the column {missing[0]!r}")
        reasons = [exclusion.reason for exclusion in self.exclude]
        if len(set(reasons)) != len(reasons):
            raise ValueError("each reason in exclude needs a name of its own")
        if self.arrived_on and self.arrived_on.column is not None:
            column = self.columns.get(self.arrived_on.column)
            if (
                not column
                or not column.is_required
                or column.kind not in (ColumnType.DATE, ColumnType.TIMESTAMP)
            ):
                raise ValueError(
                    f"arrived_on.column {self.arrived_on.column!r} must be a column of type date! or timestamp!"
                )
        return self

    @property
    def is_daily_by_file(self) -> bool:
        """Each file belongs to one day that its name tells."""
        return self.arrived_on is not None and self.arrived_on.file is not None


class TableSpec(_Model):
    """How one input-layer table is made. In `sql` each input is a view that holds only the records named in `from`."""

    source: dict[str, str] = Field(alias="from", min_length=1)
    sql: str

    @model_validator(mode="before")
    @classmethod
    def _short_from(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("from"), str | list):
            names = [value["from"]] if isinstance(value["from"], str) else value["from"]
            return {**value, "from": dict.fromkeys(names, "all")}
        return value

    @model_validator(mode="after")
    def _one_select(self) -> TableSpec:
        try:
            statements = duckdb.extract_statements(self.sql)
        except duckdb.Error as error:
            raise ValueError(f"sql cannot be read: {first_line(error)}") from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ValueError("sql must be one select")
        return self

    def condition(self, name: str) -> str:
        """SQL condition on the records of the input `name` that go into this table."""
        condition = self.source[name]
        return "true" if condition == "all" else condition


class PackageSpec(_Model):
    """A Python package that carries the files."""

    module: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    folder: str = "."


class DatasetSpec(_Model):
    """One adapter file."""

    title: str
    get: str = Field(description="What to get, and from where; shown when files are missing")
    as_of: dt.date = Field(description="Default business day of a run")
    package: PackageSpec | None = None
    inputs: dict[str, InputSpec] = Field(min_length=1)
    tables: dict[str, TableSpec] = Field(min_length=1)

    _file: Path = PrivateAttr()
    _fingerprint: str = PrivateAttr()
    _lines: dict[tuple[str, ...], int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSpec:
        for name in self.inputs:
            if not _NAME.fullmatch(name):
                raise ValueError(f"input {name!r}: write names with a-z, 0-9 and _")
        for name, table in self.tables.items():
            if name not in TABLES_BY_NAME:
                raise ValueError(f"table {name!r} is not in the input layer{suggest(name, TABLES_BY_NAME)}")
            for used in table.source:
                if used not in self.inputs:
                    raise ValueError(
                        f"table {name}: from names the input {used!r}, which is not declared{suggest(used, self.inputs)}"
                    )
        used_inputs = {used for table in self.tables.values() for used in table.source}
        for name, spec in self.inputs.items():
            if name not in used_inputs:
                raise ValueError(
                    f"input {name!r} is used by no table; remove it or name it in a table's from"
                )
            if self.is_daily and any(re.search(r"\bselect\b", e.where, re.IGNORECASE) for e in spec.exclude):
                # Days are taken in one by one: what a record means may not depend on which days are there.
                raise ValueError(
                    f"input {name!r}: with day-by-day files an exclusion looks at one record only, without a select"
                )
        return self

    @property
    def file(self) -> Path:
        """The adapter file."""
        return self._file

    @property
    def name(self) -> str:
        """Name of the dataset: the adapter file's name without its ending."""
        return self._file.stem

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the adapter file."""
        return self._fingerprint

    @property
    def is_daily(self) -> bool:
        """Some files belong to one day each."""
        return any(spec.is_daily_by_file for spec in self.inputs.values())

    def where(self, *path: str) -> str:
        """`file line N` of a part of the adapter file, for messages."""
        return f"{self._file} line {_line_of(self._lines, path)}"


def list_datasets() -> list[str]:
    """Names of the bundled adapters."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.yml"))


def load_dataset(name_or_path: str | Path) -> DatasetSpec:
    """The adapter of that name, or the one in that file (`.yml` or `.yaml`).

    Raises UsageError, with file and line, when there is none or it is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yml", ".yaml"):
        bundled = Path(__file__).parent / f"{name_or_path}.yml"
        if str(name_or_path) not in list_datasets():
            names = ", ".join(list_datasets())
            raise UsageError(
                f"There is no dataset {str(name_or_path)!r}{suggest(str(name_or_path), list_datasets())}. Bundled are {names}; "
                "your own adapter is given by its path, such as shop.yml."
            )
        path = bundled
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The adapter file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}."
        ) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(
            f"{path} line {line} is not valid YAML: {getattr(error, 'problem', error)}."
        ) from error
    lines = dict(_node_lines(root)) if root else {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} line 1: an adapter needs title, get, as_of, inputs and tables.")
    try:
        spec = DatasetSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such key"
        elif first["type"] == "missing":
            message = "is missing"
        named = ".".join(location)
        raise UsageError(
            f"{path} line {_line_of(lines, location)}: {named + ': ' if named else ''}{message}."
        ) from error
    spec._file = path
    spec._fingerprint = hashlib.sha256(text.encode()).hexdigest()
    spec._lines = lines
    return spec


def _node_lines(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, str(key.value)), key.start_mark.line + 1
            for child, line in _node_lines(value, (*path, str(key.value))):
                if len(child) > len(path) + 1:
                    yield child, line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _node_lines(value, (*path, str(index)))


def _line_of(lines: dict[tuple[str, ...], int], path: tuple[str, ...]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def suggest(name: str, known: Iterable[str]) -> str:
    """' (did you mean …?)', or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_line(error: Exception) -> str:
    """The first line of an engine's message."""
    return str(error).strip().splitlines()[0]
