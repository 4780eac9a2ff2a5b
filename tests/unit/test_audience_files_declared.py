"""Declared audiences as their files see them."""

from __future__ import annotations

import pytest

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR
from orchestration.publishing.exports import declared_export, declared_exports
from orchestration.publishing.labels import COLUMN_LABELS
from orchestration.specs.catalog import read_columns


def test_every_declared_audience_has_an_export_with_readable_headers() -> None:
    exports = declared_exports()
    assert len(exports) >= 6
    for export in exports:
        assert export.columns[0].name == "user_id"
        assert export.definition
        for column in export.columns:
            assert column.label, (export.name, column.name)


def test_values_with_a_name_are_shown_by_it() -> None:
    columns = {column.name: column for export in declared_exports() for column in export.columns}
    assert dict(columns["rfm_cell"].values)["important_winback"] == "重要挽留"
    named = {name for name, column in columns.items() if column.kind == "tag" and column.values}
    assert named


def test_every_column_of_the_wide_table_has_a_label() -> None:
    assert set(read_columns(DBT_PROJECT_DIR / "models")) - COLUMN_LABELS.keys() == set()


def test_unknown_audience_names_the_nearest() -> None:
    name = declared_exports()[0].name
    with pytest.raises(UsageError, match=f"did you mean '{name}'"):
        declared_export(name + "x")
