"""What became of every record of a source, kept per day and added up for people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.home import Home
from orchestration.ingestion.datasets.spec import DatasetSpec, LocalText

MALFORMED_SHOWN = 1000  # places kept per input and day; the counts are always complete


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Place(_Model):
    """A malformed record. `record` counts from 1 without the header; `line` with it."""

    file: str
    line: int
    reason: str


class InputCounts(_Model):
    """Records of one input. Every record is in exactly one of malformed, excluded and mapped.

    `mapped` has one count per set of tables, its key being their names joined by `+`.
    """

    files: int = 0
    records: int = 0
    malformed: dict[str, int] = {}
    excluded: dict[str, int] = {}
    mapped: dict[str, int] = {}
    places: list[Place] = []

    @property
    def explained(self) -> int:
        """Records that are in one of the three."""
        return sum((*self.malformed.values(), *self.excluded.values(), *self.mapped.values()))

    @property
    def by_table(self) -> dict[str, int]:
        """Records that reached each table; a record may reach several."""
        counts: dict[str, int] = {}
        for tables, count in self.mapped.items():
            for table in tables.split("+"):
                counts[table] = counts.get(table, 0) + count
        return counts

    def add(self, other: InputCounts) -> None:
        """Add another day's counts."""
        self.files += other.files
        self.records += other.records
        for mine, theirs in (
            (self.malformed, other.malformed),
            (self.excluded, other.excluded),
            (self.mapped, other.mapped),
        ):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        self.places = (self.places + other.places)[:MALFORMED_SHOWN]


class DatasetReport(_Model):
    """All records of a dataset that were ever prepared in a home."""

    dataset: str
    title: str
    days: int
    inputs: dict[str, InputCounts]
    reasons: dict[str, dict[str, LocalText]]
    tables: dict[str, int]
    files_not_read: list[str] = []

    def to_dict(self, language: str = "en") -> dict[str, Any]:
        """The report as JSON types. Of each input the first count is all its records, the others add up to it."""
        return {
            "dataset": self.dataset,
            "title": self.title,
            "inputs": {
                name: {
                    "records": counts.records,
                    **{f"left out: {self._why(name, r, language)}": n for r, n in counts.excluded.items()},
                    **{f"malformed: {reason}": n for reason, n in counts.malformed.items()},
                    **{f"to {', '.join(tables.split('+'))}": n for tables, n in counts.mapped.items()},
                }
                for name, counts in self.inputs.items()
            },
            "files": {name: counts.files for name, counts in self.inputs.items()},
            "malformed": [place.model_dump() for counts in self.inputs.values() for place in counts.places],
            "tables": self.tables,
            "files not read": self.files_not_read,
        }

    def _why(self, name: str, reason: str, language: str) -> str:
        text = self.reasons[name].get(reason)
        return f"{getattr(text, language)} ({reason})" if text else reason

    def lines(self, language: str = "en") -> list[str]:
        """The report as text: one equation per input, then rows per table. language: en or zh."""
        text = []
        for name, counts in self.inputs.items():
            parts = [
                *(f"{n:,} {self._why(name, reason, language)}" for reason, n in counts.excluded.items()),
                *(f"{n:,} malformed: {reason}" for reason, n in counts.malformed.items()),
                *(f"{n:,} → {', '.join(tables.split('+'))}" for tables, n in counts.mapped.items()),
            ]
            files = f"{counts.files:,} file{'' if counts.files == 1 else 's'}"
            text.append(f"{name}: {files}, {counts.records:,} records = {' + '.join(parts) or '0'}")
            text += [f"  {place.file} line {place.line}: {place.reason}" for place in counts.places[:10]]
            more = sum(counts.malformed.values()) - min(len(counts.places), 10)
            if counts.malformed and more > 0:
                text.append(f"  and {more:,} more malformed records")
        text.append("rows: " + ", ".join(f"{table} {rows:,}" for table, rows in self.tables.items()))
        text += [f"not read: {file}" for file in self.files_not_read]
        return text


def report_file(home: Home, dataset: str) -> Path:
    """Where the report of a dataset is kept."""
    return home.state / f"dataset_{dataset}_report.json"


def read_report(home: Home, spec: DatasetSpec) -> DatasetReport | None:
    """The report of the last `prepare`, or None."""
    try:
        return DatasetReport.model_validate_json(report_file(home, spec.name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def write_atomically(file: Path, text: str) -> None:
    """Write a small file so that readers see the old or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(file)
