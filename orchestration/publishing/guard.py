"""Looks for identifiers of people in marts that must be masked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.publishing import database
from orchestration.publishing.database import Place
from orchestration.publishing.publication import PUBLICATION

MASKED_TYPES = ("contact_id", "email", "openid", "phone", "unionid")
_SHORTEST_IDENTIFIER = 5
"""Shorter texts, such as `1`, are equal to ordinary values by chance."""


@dataclass(frozen=True)
class RawIdentifiers:
    """How many rows of a mart's column hold an identifier of a person as it is. Holds no value."""

    mart: str
    column: str
    rows: int


def find_raw_identifiers(
    marts_file: Path,
    private_file: Path,
    *,
    id_types: Collection[str] = MASKED_TYPES,
    sample_rows: int | None = None,
) -> list[RawIdentifiers]:
    """Columns of the marts with values that equal a private identifier of `id_types`.

    Looks at texts, at lists of texts element by element, and at whole numbers; at the first `sample_rows` rows of
    each mart, by default at all. Raises duckdb.Error when a file cannot be read.
    """
    findings: list[RawIdentifiers] = []
    with duckdb.connect(":memory:") as session:
        database.attach(session, marts_file, "marts")
        database.attach(session, private_file, "private")
        session.execute(
            "create temp table identifiers as select distinct id from private.main.user_identifiers "
            "where list_contains(?, id_type) and length(id) >= ?",
            [sorted(id_types), _SHORTEST_IDENTIFIER],
        )
        for mart in database.tables(session, Place("marts", "main")).values():
            if mart.name == PUBLICATION:
                continue
            rows = mart.full_name
            if sample_rows is not None:
                rows = f"(select * from {rows} limit {int(sample_rows)})"
            for column in mart.columns:
                values = _texts(column.name, column.type)
                if values is None:
                    continue
                found = database.count(
                    session,
                    f"(select {values} as id from {rows} as mart_rows) as texts semi join identifiers using (id)",
                )
                if found:
                    findings.append(RawIdentifiers(mart.name, column.name, found))
    return findings


def _texts(column: str, type_name: str) -> str | None:
    quoted = database.name(column)
    if type_name.endswith("[]"):
        return f"unnest(cast({quoted} as varchar[]))" if "STRUCT" not in type_name else None
    if type_name in {"VARCHAR", "JSON", "BIGINT", "HUGEINT", "UBIGINT"} or type_name.startswith("ENUM"):
        return f"cast({quoted} as varchar)"
    return None
