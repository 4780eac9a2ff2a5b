"""Files with which an ad platform matches people: one normalised, hashed key per line.

Tencent takes MD5 or SHA-256 of the 11-digit phone number without +86, of the lower-case IMEI, the upper-case IDFA, and
the OAID; Ocean Engine takes phones as MD5 (its type 17) or SHA-256 (14) and OAIDs plain (15) or as MD5 (16).
Check value: MD5 of 13800000000 is 5daad257487f1b493114181a22e37eb5. Unsalted hashes of phones are still personal data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from pydantic import model_validator

from orchestration.destinations.errors import ConfigurationError
from orchestration.destinations.file_stores import Collector, FileDestination
from orchestration.destinations.protocol import Accepted, Outcome, Record, Rejected, RunInfo
from orchestration.destinations.record_files import WrittenFile
from orchestration.destinations.registry import DestinationSettings, Surroundings, build
from orchestration.writing import files

Identifier = Literal["phone", "imei", "idfa", "oaid"]
Hash = Literal["md5", "sha256", "none"]

_HASHED: tuple[Hash, ...] = ("md5", "sha256")
_IDENTIFIERS: tuple[Identifier, ...] = ("phone", "imei", "idfa", "oaid")

MATCH_TYPES: Mapping[str, Mapping[tuple[Identifier, Hash], int | None]] = {
    "tencent": {(identifier, kind): None for identifier in _IDENTIFIERS for kind in _HASHED},
    "ocean_engine": {
        ("phone", "md5"): 17,
        ("phone", "sha256"): 14,
        ("oaid", "none"): 15,
        ("oaid", "md5"): 16,
    },
}
"""What each platform takes, with its number for it where it has one."""

_PHONE = re.compile(r"1[3-9][0-9]{9}\Z")
_IMEI = re.compile(r"[0-9a-f]{14,15}\Z")
_IDFA = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}\Z")
_OAID = re.compile(r"[0-9A-Za-z-]{16,64}\Z")


class AdMatchingSettings(DestinationSettings):
    """`store` is the declaration of a file destination (`kind: local_files`, `s3`, `sftp`) that takes the files."""

    platform: Literal["tencent", "ocean_engine"]
    identifier: Identifier = "phone"
    hash: Hash = "md5"
    store: dict[str, Any] = {"kind": "local_files"}  # noqa: RUF012

    @model_validator(mode="after")
    def _taken(self) -> AdMatchingSettings:
        taken = MATCH_TYPES[self.platform]
        if (self.identifier, self.hash) not in taken:
            raise ValueError(f"{self.platform} takes " + ", ".join(f"{own}/{kind}" for own, kind in taken))
        return self


class AdMatching(FileDestination):
    """Destination of kind `ad_matching`."""

    Settings = AdMatchingSettings

    def __init__(self, name: str, settings: AdMatchingSettings, surroundings: Surroundings) -> None:
        inner = build(name, settings.store, surroundings)
        if not isinstance(inner, FileDestination) or isinstance(inner, AdMatching):
            raise ConfigurationError("no_file_store", "store must be of kind local_files, s3 or sftp.")
        super().__init__(name, surroundings.home, inner._store)
        self._settings = settings

    def collector(self, run: RunInfo, work: Path) -> Collector:
        """Hashed keys, one file to add and, with a mode that removes, one to take away."""
        return MatchingCollector(self._settings, run, work)


class MatchingCollector:
    """Hashes by operation, each once, in their own order: it tells nothing about the people's."""

    def __init__(self, settings: AdMatchingSettings, run: RunInfo, work: Path) -> None:
        self._settings = settings
        self._run = run
        self._rows: dict[str, int] = {}
        self._session = duckdb.connect(
            ":memory:", config={"memory_limit": "256MB", "threads": 2, "temp_directory": str(work / "spill")}
        )
        self._session.execute("create table hashed (operation varchar, value varchar)")

    def add(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """A key that cannot be normalised is rejected."""
        values = [matching_value(own.key, self._settings.identifier, self._settings.hash) for own in records]
        taken = [(own.operation, value) for own, value in zip(records, values, strict=True) if value]
        batch = pa.table(
            [pa.array([own[at] for own in taken], pa.string()) for at in (0, 1)], names=["operation", "value"]
        )
        self._session.register("batch", batch)
        self._session.execute("insert into hashed select * from batch")
        self._session.unregister("batch")
        return [Accepted() if value else Rejected(f"{self._settings.identifier}_unfit") for value in values]

    def write(self, folder: Path) -> list[WrittenFile]:
        """The files; `remove` only with the mode that removes."""
        written = []
        for operation in ("upsert", *(["remove"] if self._run.mode == "mirror" else [])):
            path = folder / f"{'add' if operation == 'upsert' else 'remove'}_{self._settings.identifier}.txt"
            place = "'" + str(path).replace("'", "''") + "'"
            self._session.execute(
                f"copy (select distinct value from hashed where operation = '{operation}' order by value) "
                f"to {place} (format csv, header false, quote '', escape '')"
            )
            path.chmod(0o600)
            files.flush_file(path)
            row = self._session.execute(
                "select count(distinct value) from hashed where operation = ?", [operation]
            ).fetchone() or (0,)
            size = path.stat().st_size
            written.append(WrittenFile(path, "matching", int(row[0]), size, files.sha256(path)))
        return written

    def extra(self) -> dict[str, Any]:
        """What the platform needs to know of the lines."""
        own = self._settings
        kind = MATCH_TYPES[own.platform][own.identifier, own.hash]
        return {"platform": own.platform, "identifier": own.identifier, "hash": own.hash, "match_type": kind}

    def close(self) -> None:
        """Forget the hashes."""
        self._session.close()


def matching_value(key: str, identifier: Identifier, kind: Hash) -> str | None:
    """The key as the platforms match it; None when it cannot be normalised."""
    normal = _NORMALISED[identifier](key)
    if normal is None or kind == "none":
        return normal
    return hashlib.new(kind, normal.encode(), usedforsecurity=False).hexdigest()


def _phone(text: str) -> str | None:
    digits = re.sub(r"[\s\-().]", "", text)
    digits = re.sub(r"^(\+86|0086|86(?=1[0-9]{10}$))", "", digits)
    return digits if _PHONE.match(digits) else None


def _imei(text: str) -> str | None:
    own = text.strip().lower()
    return own if _IMEI.match(own) and own.strip("0") else None


def _idfa(text: str) -> str | None:
    own = text.strip().upper()
    return own if _IDFA.match(own) and own.strip("0-") else None


def _oaid(text: str) -> str | None:
    own = text.strip()
    return own if _OAID.match(own) and own.strip("0-") else None


_NORMALISED: Mapping[Identifier, Callable[[str], str | None]] = {
    "phone": _phone,
    "imei": _imei,
    "idfa": _idfa,
    "oaid": _oaid,
}
