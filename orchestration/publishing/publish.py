"""Publishing: the finished warehouse becomes what readers open, all at once.

Everything is made in `published/build.part/` first and then renamed into place in this order: the Parquet folder
of the new version, `private.duckdb`, `marts.duckdb`, `manifest.json`. A reader that opened a file keeps it whole;
one that opens a file later gets the old or the new version. A killed publication leaves at most a build folder
and a Parquet folder that no manifest names; the next one removes both.

The published day is the greatest one that was finished. A run for an earlier day only adds its rows to the
by-date marts; every other mart stays as it was published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.errors import JingxiError, PublishError
from orchestration.home import Home
from orchestration.publishing import database
from orchestration.publishing.database import Place, Table, name
from orchestration.publishing.publication import PUBLICATION, Publication, read_publication, write_publication
from orchestration.settings import Settings
from orchestration.writing import files

MANIFEST_FORMAT = 1
MARTS_SCHEMA = "marts"
PRIVATE_SCHEMA = "private"
BUILD_FOLDER = "build.part"

_WAREHOUSE = "warehouse"
_OLD = {"marts": "published_marts", "private": "published_private"}
_NEW = {"marts": "new_marts", "private": "new_private"}
_VERSION_FORMAT = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class PublishedMart:
    """One mart of a version; `parquet` is relative to the folder `published`."""

    name: str
    rows: int
    columns: list[dict[str, str]]
    parquet: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PublishResult:
    """What readers see now. `unchanged`: it was published before and no file was touched."""

    publication: Publication
    unchanged: bool
    is_backfill: bool
    files: tuple[PublishedMart, ...]
    removed_versions: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version that readers see."""
        return self.publication.version

    @property
    def as_of(self) -> dt.date:
        """The day that the published marts describe; for a back-fill a later one than that of the run."""
        return self.publication.as_of

    @property
    def marts(self) -> dict[str, int]:
        """Rows of each mart."""
        return {mart.name: mart.rows for mart in self.files}


def published_as(home: Home) -> tuple[dt.date, str] | None:
    """Day and input hash of the published marts, None when nothing is published. Raises PublishError."""
    publication = read_publication(home.marts)
    return (publication.as_of, publication.input_hash) if publication else None


def verify_published(home: Home) -> list[str]:
    """What is wrong with the published files, one sentence each; empty when they are whole and of one version.

    Files that are wrong are written anew by the next `publish`.
    """
    try:
        marts, private = read_publication(home.marts), read_publication(home.private_marts)
    except PublishError as error:
        return [str(error)]
    manifest = files.read_json(home.publication_manifest)
    if marts is None:
        return [f"{home.marts} is missing."]
    problems = []
    if private is None:
        problems.append(f"{home.private_marts} is missing.")
    elif private.version != marts.version:
        problems.append(f"{home.private_marts} is of another version than {home.marts}.")
    if manifest is None or manifest.get("version") != marts.version:
        return [*problems, f"{home.publication_manifest} does not describe the version of {home.marts}."]
    try:
        parquet = [PublishedMart(**mart) for mart in manifest["marts"]]
        sizes = {str(file["name"]): int(file["bytes"]) for file in manifest["files"]}
    except (KeyError, TypeError, ValueError):
        return [*problems, f"{home.publication_manifest} is not a manifest of published marts."]
    problems += [
        f"{file} does not have the size that the manifest gives."
        for file in (home.marts, home.private_marts)
        if file.exists() and file.stat().st_size != sizes.get(file.name)
    ]
    problems += [
        f"{home.published / mart.parquet} is missing or damaged."
        for mart in parquet
        if not files.is_intact(home.published / mart.parquet, mart.bytes, mart.sha256)
    ]
    return problems


def publish(
    home: Home,
    settings: Settings,
    *,
    as_of: dt.date,
    input_hash: str,
    by_date: Mapping[str, str],
    now: dt.datetime | None = None,
    keep_versions: int | None = None,
    declared: Mapping[str, Collection[str]] | None = None,
    kept: Mapping[str, Collection[dt.date]] | None = None,
    force: bool = False,
) -> PublishResult:
    """Publish the warehouse as built for `as_of`.

    `by_date` maps each by-date mart to its DATE column. `input_hash` stands for everything else the marts follow
    from (input, settings, project code): the same hash and day with intact files is left untouched unless
    `force`. With `declared` (names of tables of the schemas marts and private) exactly these are published, and a
    missing one is an error. `now` is aware.

    By-date marts keep every day ever published: days that the warehouse no longer holds come from the published
    version. The rows of `as_of` always come from the warehouse, rows after the published day are left out. A mart in
    `kept` holds these days only once a later day is published; filling in an earlier day drops none.

    One writer at a time (the caller holds the lock of the home), and no open handle on the warehouse in this
    process. Raises PublishError; the published version is then the old one.
    """
    publisher = _Publisher(home, settings, as_of, input_hash, dict(by_date), declared, kept or {})
    try:
        return publisher.run(
            now or dt.datetime.now(dt.UTC), keep_versions or settings.publish.keep_versions, force=force
        )
    except JingxiError:
        raise
    except (OSError, duckdb.Error) as error:
        doing = f" while writing {publisher.doing}" if publisher.doing else ""
        raise PublishError(
            f"The marts could not be published{doing}: {database.reason(error)}. "
            "The version published before stays; free space or repair the cause, then run again."
        ) from error
    finally:
        files.remove(publisher.build)


class _Publisher:
    """One publication; `doing` names what is being written, for a message."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        as_of: dt.date,
        input_hash: str,
        by_date: dict[str, str],
        declared: Mapping[str, Collection[str]] | None,
        kept: Mapping[str, Collection[dt.date]],
    ) -> None:
        self.home = home
        self.settings = settings
        self.as_of = as_of
        self.input_hash = input_hash
        self.by_date = by_date
        self.declared = declared
        self.kept = kept
        self.build = home.published / BUILD_FOLDER
        self.parquet = home.published / "parquet"
        self.doing = ""
        self.is_backfill = False
        self.published_day = as_of

    def run(self, now: dt.datetime, keep_versions: int, *, force: bool) -> PublishResult:
        self.home.published.mkdir(parents=True, exist_ok=True)
        self.parquet.mkdir(exist_ok=True)
        manifest = files.read_json(self.home.publication_manifest)
        self._sweep(manifest)
        old = read_publication(self.home.marts)
        old_private = read_publication(self.home.private_marts)
        self.is_backfill = old is not None and self.as_of < old.as_of
        if old is not None and self.is_backfill:
            self.published_day = old.as_of
            self._refuse_interrupted(old, old_private)
        intact = self._intact()
        if (
            not force
            and intact is not None
            and old is not None
            and (old.as_of, old.input_hash) == (self.as_of, self.input_hash)
        ):
            return PublishResult(old, True, False, intact)
        if not self.home.warehouse.exists():
            raise PublishError(
                f"There is no warehouse at {self.home.warehouse}: run `jingxi run` to build it."
            )
        self.build.mkdir(mode=0o700)
        self.home.temp.mkdir(parents=True, exist_ok=True)
        session = database.open_session(
            temp_folder=self.home.temp,
            memory_limit=self.settings.engine.memory_limit,
            threads=self.settings.engine.threads,
        )
        with session:
            database.attach(session, self.home.warehouse, _WAREHOUSE)
            if old is not None:
                database.attach(session, self.home.marts, _OLD["marts"])
            if old_private is not None:
                database.attach(session, self.home.private_marts, _OLD["private"])
            sources = self._sources(session, has_old=old is not None, has_private=old_private is not None)
            if (
                self.is_backfill
                and intact is not None
                and old is not None
                and not force
                and self._adds_nothing(session)
            ):
                return PublishResult(old, True, True, intact)
            publication = Publication(
                self._new_version(now, old, old_private, manifest),
                self.published_day,
                old.input_hash if old is not None and self.is_backfill else self.input_hash,
                now.astimezone(dt.UTC).replace(tzinfo=None),
            )
            marts = self._write(session, sources, publication)
        return self._switch(publication, marts, manifest, keep_versions)

    def _refuse_interrupted(self, old: Publication, old_private: Publication | None) -> None:
        """Filling an earlier day copies the private file too, so it must belong to the published marts."""
        if old_private is None or not old_private.same_content(old):
            day = max(old.as_of, old_private.as_of) if old_private else old.as_of
            raise PublishError(
                f"The last publication was interrupted: run `jingxi run --as-of {day}` first, "
                f"then fill {self.as_of}."
            )

    def _sweep(self, manifest: dict[str, Any] | None) -> None:
        """Remove what a killed publication left."""
        files.remove(self.build)
        for leftover in self.home.published.glob("*.part"):
            files.remove(leftover)
        for target in (self.home.private_marts, self.home.marts):
            _wal(target).unlink(missing_ok=True)
        kept = set(manifest.get("kept_versions", ())) if manifest else set()
        for folder in self.parquet.iterdir():
            if folder.name not in kept:
                files.remove(folder)

    def _intact(self) -> tuple[PublishedMart, ...] | None:
        """The published marts when every published file is whole and of one version, else None."""
        if not self.home.marts.exists() or verify_published(self.home):
            return None
        manifest = files.read_json(self.home.publication_manifest) or {}
        return tuple(PublishedMart(**mart) for mart in manifest["marts"])

    def _sources(
        self, session: duckdb.DuckDBPyConnection, *, has_old: bool, has_private: bool
    ) -> dict[str, dict[str, Table]]:
        """The tables to publish by file: where each takes its definition and, by-date marts apart, its rows."""
        built = {
            "marts": database.tables(session, Place(_WAREHOUSE, MARTS_SCHEMA)),
            "private": database.tables(session, Place(_WAREHOUSE, PRIVATE_SCHEMA)),
        }
        self._check(built)
        if self.declared is not None:
            built = {
                schema: {table: tables[table] for table in sorted(self.declared.get(schema, ()))}
                for schema, tables in built.items()
            }
        self.built = built
        self.old: dict[str, dict[str, Table]] = {
            "marts": database.tables(session, Place(_OLD["marts"], "main")) if has_old else {},
            "private": database.tables(session, Place(_OLD["private"], "main")) if has_private else {},
        }
        for published in self.old.values():
            published.pop(PUBLICATION, None)
        if not self.is_backfill:
            return built
        by_date = {mart: table for mart, table in built["marts"].items() if mart in self.by_date}
        return {"marts": {**self.old["marts"], **by_date}, "private": self.old["private"]}

    def _check(self, built: dict[str, dict[str, Table]]) -> None:
        if self.declared is not None:
            missing = [
                table if schema == MARTS_SCHEMA else f"{schema}.{table}"
                for schema, tables in built.items()
                for table in sorted(set(self.declared.get(schema, ())) - tables.keys())
            ]
            if missing:
                raise PublishError(
                    f"The warehouse does not hold {', '.join(missing)} as a table: "
                    "run `jingxi run` so that every declared mart is built."
                )
        if not built["marts"]:
            raise PublishError(f"{self.home.warehouse} holds no marts: run `jingxi run` to build them.")
        for tables in built.values():
            if PUBLICATION in tables:
                raise PublishError(f"No model may be named {PUBLICATION}: the publisher writes that table.")
        for mart, column in self.by_date.items():
            table = built["marts"].get(mart)
            if table is None:
                raise PublishError(
                    f"The by-date mart {mart} is not in the warehouse: run `jingxi run` again."
                )
            if (column, "DATE") not in {(own.name, own.type) for own in table.columns}:
                raise PublishError(f"The by-date mart {mart} has no column {column} of type date.")

    def _adds_nothing(self, session: duckdb.DuckDBPyConnection) -> bool:
        """Whether the published by-date marts already hold what this earlier day would add."""
        for mart, column in self.by_date.items():
            new, old = self.built["marts"][mart], self.old["marts"].get(mart)
            if old is None or new.columns != old.columns:
                return False
            own_day = f"{name(column)} = {database.date(self.as_of)}"
            mine = f"select * from {new.full_name} where {own_day}"
            theirs = f"select * from {old.full_name} where {own_day}"
            other_days = (
                f"select 1 from {new.full_name} where {name(column)} <= {database.date(self.published_day)} "
                f"and {name(column)} not in (select {name(column)} from {old.full_name})"
            )
            for difference in (f"{mine} except all {theirs}", f"{theirs} except all {mine}", other_days):
                if session.execute(f"select 1 from ({difference}) as difference limit 1").fetchone():
                    return False
        return True

    def _new_version(
        self,
        now: dt.datetime,
        old: Publication | None,
        old_private: Publication | None,
        manifest: dict[str, Any] | None,
    ) -> str:
        """The moment of publication, moved on when a clock that went back would break the order of versions."""
        known = [file.version for file in (old, old_private) if file is not None]
        known += [str(manifest["version"])] if manifest and "version" in manifest else []
        known += [folder.name for folder in self.parquet.iterdir()]
        moment = now.astimezone(dt.UTC)
        latest = max(known, default="")
        if moment.strftime(_VERSION_FORMAT) <= latest:
            moment = dt.datetime.strptime(latest, _VERSION_FORMAT) + dt.timedelta(microseconds=1)
        return moment.strftime(_VERSION_FORMAT)

    def _write(
        self,
        session: duckdb.DuckDBPyConnection,
        sources: dict[str, dict[str, Table]],
        publication: Publication,
    ) -> list[PublishedMart]:
        """Make both database files and the Parquet folder below the build folder."""
        marts: list[PublishedMart] = []
        folder = self.build / "parquet"
        folder.mkdir()
        folder.chmod(0o755)
        for kind in ("private", "marts"):
            file = self.build / f"{kind}.duckdb"
            place = Place(_NEW[kind], "main")
            self.doing = file.name
            database.attach(session, file, place.database, read_only=False)
            file.chmod(0o600 if kind == "private" else 0o644)
            for table in sources[kind].values():
                self.doing = f"the mart {table.name}"
                database.create_like(session, table, place)
                # One fixed order over all columns makes equal rows equal bytes in Parquet.
                session.execute(
                    f"insert into {place.table(table.name)} ({database.names(table.column_names)}) "
                    f"select {database.names(table.column_names)} from ({self._rows(table)}) as rows order by all"
                )
            self.doing = file.name
            write_publication(session, place, publication)
            session.execute(f"checkpoint {name(place.database)}")
            if kind == "marts":
                for table in database.tables(session, place).values():
                    self.doing = f"the Parquet file of {table.name}"
                    marts.append(self._write_parquet(session, table, folder, publication.version))
            session.execute(f"detach {name(place.database)}")
            files.flush_file(file)
        self.doing = ""
        return marts

    def _rows(self, table: Table) -> str:
        """SQL of the rows that a table publishes."""
        rows = self._all_rows(table)
        if self.is_backfill or table.place.database != _WAREHOUSE or table.name not in self.kept:
            return rows
        days = ", ".join(map(database.date, sorted(self.kept[table.name])))
        return f"select * from ({rows}) as rows where {name(self.by_date[table.name])} in ({days})"

    def _all_rows(self, table: Table) -> str:
        columns = database.names(table.column_names)
        day_column = self.by_date.get(table.name) if table.place.database == _WAREHOUSE else None
        if day_column is None or table.place.schema != MARTS_SCHEMA:
            return f"select {columns} from {table.full_name}"
        day, own = name(day_column), database.date(self.as_of)
        built = f"select {columns} from {table.full_name} where {day} <= {database.date(self.published_day)}"
        old = self.old["marts"].get(table.name)
        if old is None or day_column not in old.column_names:
            return built
        kept_columns = ", ".join(
            name(column) if column in old.column_names else f"null as {name(column)}"
            for column in table.column_names
        )
        kept = f"select {kept_columns} from {old.full_name} where {day} <> {own}"
        if self.is_backfill:
            built += f" and ({day} = {own} or {day} not in (select {day} from {old.full_name}))"
        else:
            kept += f" and {day} not in (select {day} from {table.full_name} where {day} is not null)"
        return f"{built} union all {kept}"

    def _write_parquet(
        self, session: duckdb.DuckDBPyConnection, table: Table, folder: Path, version: str
    ) -> PublishedMart:
        file = folder / f"{table.name}.parquet"
        session.execute(
            f"copy (select * from {table.full_name}) to {database.text(str(file))} "
            "(format parquet, compression zstd)"
        )
        files.flush_file(file)
        return PublishedMart(
            name=table.name,
            rows=database.count(session, table.full_name),
            columns=table.types(),
            parquet=f"parquet/{version}/{file.name}",
            bytes=file.stat().st_size,
            sha256=files.sha256(file),
        )

    def _switch(
        self,
        publication: Publication,
        marts: list[PublishedMart],
        manifest: dict[str, Any] | None,
        keep_versions: int,
    ) -> PublishResult:
        """Rename everything into place, the manifest last, then drop versions beyond the kept ones."""
        published = self.home.published
        sizes = [
            {"name": target.name, "bytes": (self.build / target.name).stat().st_size}
            for target in (self.home.marts, self.home.private_marts)
        ]
        earlier = [str(version) for version in (manifest or {}).get("kept_versions", ())]
        versions = sorted({*(v for v in earlier if (self.parquet / v).is_dir()), publication.version})
        kept, removed = versions[-keep_versions:], versions[:-keep_versions]
        self.doing = "the new version"
        files.flush_folder(self.build / "parquet")
        (self.build / "parquet").rename(self.parquet / publication.version)
        files.flush_folder(self.parquet)
        for target in (self.home.private_marts, self.home.marts):
            # A write-ahead log left beside the target would be replayed into the new file.
            _wal(target).unlink(missing_ok=True)
            files.switch(self.build / target.name, target)
        self.doing = self.home.publication_manifest.name
        files.write_json(
            self.home.publication_manifest,
            {
                "format": MANIFEST_FORMAT,
                "version": publication.version,
                "as_of_date": publication.as_of.isoformat(),
                "input_hash": publication.input_hash,
                "published_at": publication.published_at.isoformat(timespec="microseconds") + "Z",
                "files": sizes,
                "marts": [vars(mart) for mart in marts],
                "kept_versions": kept,
            },
        )
        for version in removed:
            files.remove(self.parquet / version)
        files.flush_folder(published)
        return PublishResult(publication, False, self.is_backfill, tuple(marts), tuple(removed))


def _wal(file: Path) -> Path:
    return file.with_name(file.name + ".wal")
