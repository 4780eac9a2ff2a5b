"""Identifiers of people as somebody types them: brought into the form they are kept in, found, masked for showing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from jinja2 import meta

from orchestration.home import DBT_PROJECT_DIR

_HIDDEN = "****"


def normalising_sql(id_type: str, id_: str, *, dbt_dir: Path = DBT_PROJECT_DIR) -> str:
    """SQL of an identifier in the form in which identity keeps it; `id_type` and `id_` are SQL.

    This is the project's own dbt macro `normalised_id`, so there is one rule. Raises jinja2.TemplateError when the
    macro needs more of dbt than other macros and `adapter.dispatch`.
    """
    return str(_macro(dbt_dir / "macros", "normalised_id")(id_type, id_)).strip()


@cache
def _macro(folder: Path, name: str) -> Any:
    """A dbt macro as a function, with the macros that it names, as they render for DuckDB."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - SQL of the project, no page
    sources: dict[str, str] = {}
    todo = [name]
    while todo:
        one = todo.pop()
        file = folder / f"{one}.sql"
        if one not in sources and file.exists():
            sources[one] = file.read_text(encoding="utf-8")
            todo += meta.find_undeclared_variables(environment.parse(sources[one]))
    environment.globals["return"] = lambda value: value

    class Adapter:
        @staticmethod
        def dispatch(macro: str, *_: str) -> Any:
            return getattr(module, f"duckdb__{macro}", None) or getattr(module, f"default__{macro}")

    environment.globals["adapter"] = Adapter
    module: Any = environment.from_string("\n".join(sources.values())).module
    return getattr(module, name)


def find_users(
    session: duckdb.DuckDBPyConnection, identifier: str, id_type: str | None = None
) -> list[tuple[str, str]]:
    """Users who have an identifier, with the kind as which they have it, in order of kind.

    The session has `marts` and `private` attached. An identifier is also looked for as a user_id, and as one that was
    merged away. `identifier` is only ever bound, never part of SQL. Raises duckdb.Error.
    """
    found = session.execute(
        f"""
        with kinds as (select distinct id_type from private.main.user_identifiers where id_type = coalesce($kind, id_type)),
        typed as (select id_type, {normalising_sql("id_type", "cast($id as varchar)")} as id from kinds)
        select distinct identifiers.id_type, identifiers.user_id
        from private.main.user_identifiers as identifiers
        join typed on identifiers.id_type = typed.id_type and identifiers.id = typed.id
        order by all
        """,
        {"id": identifier, "kind": id_type},
    ).fetchall()
    if id_type in (None, "user_id"):
        found += session.execute(
            "select 'user_id', user_id from marts.main.user_wide where user_id = trim(?)", [identifier]
        ).fetchall()
        found += [("user_id", user) for user in _merged_into(session, identifier)]
    return [(user, kind) for kind, user in dict.fromkeys(found)]


def _merged_into(session: duckdb.DuckDBPyConnection, old_user_id: str) -> list[str]:
    """The present user of an id that was merged away."""
    rows = session.execute(
        "select distinct users.user_id from marts.main.user_merges as merges "
        "join marts.main.user_wide as users on users.user_id = merges.current_user_id "
        "where merges.user_id = trim(?) and merges.kind = 'merge' and users.user_id <> merges.user_id order by all",
        [old_user_id],
    ).fetchall()
    return [str(row[0]) for row in rows]


def earlier_user_ids(session: duckdb.DuckDBPyConnection, user_id: str) -> list[str]:
    """Ids that were merged into a user."""
    rows = session.execute(
        "select distinct user_id from marts.main.user_merges "
        "where current_user_id = $1 and kind = 'merge' and user_id <> $1 order by all",
        [user_id],
    ).fetchall()
    return [str(row[0]) for row in rows]


def masked(id_type: str, value: str) -> str:
    """An identifier that tells its owner apart for those who know it, and nobody else: 138****0000.

    A mobile number keeps three and four digits, an e-mail address its first letter and its domain, a name its first
    character; everything else its last characters, at most four and at most a third of it.
    """
    if id_type == "name":
        return value[:1] + "**"
    if id_type == "phone" and len(value) >= 11:
        return f"{value[:3]}{_HIDDEN}{value[-4:]}"
    if id_type == "email" and "@" in value:
        own, _, domain = value.partition("@")
        return f"{own[:1]}{_HIDDEN}@{domain}"
    kept = min(4, len(value) // 3)
    return _HIDDEN + (value[-kept:] if kept else "")
