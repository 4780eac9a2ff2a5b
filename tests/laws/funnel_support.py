"""Funnels declared in Python, and their compiled text rendered without dbt."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from orchestration.specs.documents import Document
from orchestration.specs.funnels import Funnel, read_funnel
from tests.laws import BUSINESS_TIME

MACROS = Path(__file__).parents[2] / "dbt_project" / "macros"


def declare(**fields: Any) -> Funnel:
    """A funnel from the fields of its file."""
    label = {"zh": "漏斗", "en": "Funnel"}
    steps = tuple({"label": label, **step} for step in fields.pop("steps"))
    data = {
        "name": "f",
        "title": label,
        "owner": "growth",
        "description": "A funnel.",
        "steps": steps,
        **fields,
    }
    return read_funnel(Document(Path("f.yml"), "f.yml", data, {}))


@cache
def macro_texts() -> str:
    names = [
        *sorted(MACROS.glob("funnel_*.sql")),
        *(MACROS / f"{name}.sql" for name in ("business_date", "steady_time", "as_of")),
    ]
    return "".join(path.read_text(encoding="utf-8") for path in names)


def render(text: str, *, streams: bool = True) -> str:
    """Compiled model text as DuckDB runs it; `streams=False` takes the form for other engines."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)

    class Adapter:
        @staticmethod
        def dispatch(name: str) -> Callable[..., str]:
            module = environment.globals["macros"]
            found = getattr(module, f"duckdb__{name}", None) or getattr(module, f"default__{name}")
            return lambda *arguments: str(found(*arguments)).strip()

    environment.globals.update(
        adapter=Adapter,
        ref=lambda name: name,
        var=BUSINESS_TIME.get,
    )
    environment.globals["return"] = lambda value: value
    module = environment.from_string(macro_texts()).make_module()
    environment.globals["macros"] = module
    for name in [name for name in dir(module) if not name.startswith("_")]:
        environment.globals[name] = getattr(module, name)
    environment.globals["funnel_streams"] = lambda: streams
    return environment.from_string(text).render()
