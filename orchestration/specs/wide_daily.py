"""The contract of user_wide_daily: the columns of the user wide table, day by day."""

from __future__ import annotations

from collections.abc import Mapping

from orchestration.specs.catalog import KEY, Column
from orchestration.specs.generated import yaml_header, yaml_text

FILE = "dbt_project/models/marts/core/_core__user_wide_daily.yml"
_DAY = "as_of_date"
_DESCRIPTION = """One row per business day and user: user_wide as it was on that day. What arrived later does not count for the day, unless history.late_rows says so.
Kept for history.wide_days days, the last days of history.wide_month_ends months, and days that were filled in since the last run.
A column that came later is empty on days before."""


def wide_daily_yaml(columns: Mapping[str, Column]) -> str:
    """dbt YAML of user_wide_daily. Only user and day are never empty: columns come and days stay."""
    text = yaml_header("dbt_project/models/marts/core/_core__user_wide.yml") + "version: 2\n\nmodels:\n"
    text += f"  - name: user_wide_daily\n    description: {yaml_text(' '.join(_DESCRIPTION.split()))}\n"
    text += "    config:\n      tags: [users]\n"
    text += f"    data_tests:\n      - one_row_per:\n          arguments: {{columns: [{_DAY}, {KEY}]}}\n    columns:\n"
    for column in columns.values():
        text += f"      - name: {column.name}\n        data_type: {column.sql_type}\n"
        text += f"        description: {yaml_text(column.description)}\n"
        if column.name in (KEY, _DAY):
            text += "        constraints:\n          - type: not_null\n"
    return text
