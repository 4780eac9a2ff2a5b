"""Refused records, as people are told about them: where and why, never what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import FileResult

MOST_SHOWN = 20


def first_rejects(home: Home, files: Iterable[FileResult]) -> list[dict[str, Any]]:
    """The first refused records of some files: file, line, column (empty when the whole record is), reason."""
    paths = [str(home.path / file.rejected_file) for file in files if file.rejected_file and file.rejected]
    if not paths:
        return []
    with duckdb.connect() as connection:
        rows = connection.execute(
            'select file, line, "column", message from read_parquet(?) order by file, line, record limit ?',
            [paths, MOST_SHOWN],
        ).fetchall()
    return [
        {"file": file, "line": line, "column": column or "", "reason": message}
        for file, line, column, message in rows
    ]
