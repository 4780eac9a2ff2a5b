"""The macro that counts what pairs of audiences share, in both of its forms, without dbt."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import jinja2

MACROS = Path(__file__).parents[2] / "dbt_project" / "macros"


def pair_counts_sql(form: Literal["duckdb", "default"], members: str, users: str) -> str:
    """SQL of (audience, other_audience, both_count) from relations of that name, as DuckDB or any engine runs it."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(MACROS), autoescape=False)
    divide = environment.get_template("integer_divide.sql").make_module()
    environment.globals["integer_divide"] = divide.duckdb__integer_divide  # type: ignore[attr-defined]
    macros = environment.get_template("audience_pair_counts.sql").make_module()
    return str(getattr(macros, f"{form}__audience_pair_counts")(members, users))
