"""Raw files that change in place, and how a change that went another way is noticed.

Raw files are immutable: what builds on them may assume that what counted for a day counts for it for ever. What must
change one all the same (an erasure, the repair of a damaged file) does so by `replace_raw_file`, and by nothing else.
See dbt_project/docs/decisions/0008-state-day.md.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import duckdb

from orchestration.errors import IntakeError
from orchestration.home import Home
from orchestration.ingestion.registry import Registry
from orchestration.warehouse.project import forget_build
from orchestration.warehouse.state_day import forget_state_day


def replace_raw_file(home: Home, path: str, rewritten: Path) -> bool:
    """Put `rewritten` (moved, same file system) in the place of the raw file `path` (relative to the home).

    Returns whether anything was done: equal bytes leave all as it is. What was built from the file is no longer gone on
    from, and every day it counts for has another input hash: the next run builds anew, days of history included. A
    process that dies on the way leaves the old or the new file, and the registry counts the one that is there. The
    caller holds the home's lock. Raises IntakeError when the registry does not know the file or the new one has other
    columns or is no Parquet file.
    """
    registry, target = Registry(home), home.path / path
    if path not in registry.raw_paths():
        raise IntakeError(f"{path} is no raw file of {home.path}; nothing was changed.")
    is_same = target.exists() and _digest(target) == _digest(rewritten)
    if is_same and not registry.is_being_rewritten(path):
        rewritten.unlink()
        return False
    records = _records(target if target.exists() else None, rewritten, path)
    forget_state_day(home)
    forget_build(home)
    _sync(rewritten)
    registry.begin_rewrite(path)
    rewritten.replace(target)
    _sync(target.parent)
    registry.end_rewrite(path, records)
    return True


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _records(before: Path | None, after: Path, path: str) -> int:
    """Rows of the new file, which must have the columns of the old one."""
    with duckdb.connect() as connection:
        try:
            columns = [
                connection.execute("describe from read_parquet(?)", [str(file)]).fetchall()
                for file in (before, after)
                if file is not None
            ]
            (row,) = connection.execute("select count(*) from read_parquet(?)", [str(after)]).fetchall()
        except duckdb.Error as error:
            raise IntakeError(
                f"What is to replace {path} cannot be read as Parquet; nothing was changed."
            ) from error
    if columns[0] != columns[-1]:
        raise IntakeError(f"What is to replace {path} has other columns; nothing was changed.")
    return int(row[0])
