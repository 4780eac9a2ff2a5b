"""Models of the project, rendered without dbt for DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jinja2

from orchestration.home import DBT_PROJECT_DIR as DBT
from tests.laws import BUSINESS_TIME, Templates


def rendered(model: str, forward: bool = False, has_rows: Callable[[str], bool] = lambda _: True) -> str:
    """SQL of a model for DuckDB, built anew or going forward; tables are called as the models, raw tables raw_<table>,
    arrived_<table> and since_<table>. `has_rows` answers what a model asks while it is compiled."""
    _answers.append(has_rows)
    try:
        return str(_template(model, forward).render())
    finally:
        _answers.pop()


# Who answers what the model asks that is being rendered.
_answers: list[Callable[[str], bool]] = []
# What each rendered model says of how it is built.
CONFIGS: dict[str, dict[str, Any]] = {}


@cache
def _template(model: str, forward: bool) -> jinja2.Template:
    environment = Templates(extensions=["jinja2.ext.do"], autoescape=False)
    special: dict[str, Callable[[str], str]] = {
        "ever_arrived": lambda table: f"arrived_{table}",
        "ever_arrived_since": lambda table: f"since_{table}",
        "replaced_files": lambda table: (
            f"(select taken_in_at, replaced_on from replaced_files where table_name = '{table}')"
        ),
    }

    class Adapter:
        @staticmethod
        def dispatch(name: str) -> Callable[..., str]:
            if name in special:
                return special[name]
            module = environment.globals["macros"]
            found: Callable[..., str] = getattr(module, f"duckdb__{name}", None) or getattr(
                module, f"default__{name}"
            )
            return found

    environment.globals.update(
        adapter=Adapter,
        ref=lambda name: name,
        source=lambda schema, table: f"{schema}_{table}",
        var=BUSINESS_TIME.get,
        config=lambda **given: CONFIGS.update({model: given}) or "",
        exceptions=None,
    )
    returned: list[Any] = []

    def keep(value: Any) -> Any:
        returned.append(value)
        return value

    environment.globals["return"] = keep
    # What only works inside dbt.
    skipped = {
        "scratch_table",
        "drop_scratch_table",
        "has_rows",
        "connected_components",
        "record_key",
        "rhythm_units",
        "is_forward",
        "forward_components",
        "run_sql",
        "counted_rows",
    }
    environment.globals["counted_rows"] = lambda name, query: query
    environment.globals["has_rows"] = lambda query: _answers[-1](query)
    environment.globals["is_forward"] = lambda: forward
    environment.globals["this"] = model
    texts = [
        file.read_text(encoding="utf-8")
        for file in sorted((DBT / "macros").glob("*.sql"))
        if file.stem not in skipped
    ]

    def listing(name: str) -> Callable[..., list[Any]]:
        """A macro that returns a list instead of text."""
        own = environment.from_string((DBT / "macros" / f"{name}.sql").read_text(encoding="utf-8"))

        def listed(*arguments: str) -> list[Any]:
            returned.clear()
            getattr(own.make_module(), name)(*arguments)
            return list(returned[-1])

        return listed

    environment.globals.update({name: listing(name) for name in ("record_key", "rhythm_units")})
    module = environment.from_string("\n".join(texts)).make_module()
    environment.globals["macros"] = module
    for name in [name for name in dir(module) if not name.startswith("_")]:
        environment.globals[name] = getattr(module, name)
    (path,) = (DBT / "models").rglob(f"{model}.sql")
    return environment.from_string(path.read_text(encoding="utf-8"))
