"""The dbt sources, the staging models and the page on the input layer, written from the contracts.

`jingxi compile` writes them, `jingxi compile --check` says which of them are stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestration.home import DBT_PROJECT_DIR
from orchestration.ingestion.contracts import RAW_COLUMNS, TABLES, Column, Table, Type

COMMAND = "jingxi compile"
FOLDER = Path("models/staging/raw")
SOURCES_FILE = FOLDER / "_raw__sources.yml"
MODELS_FILE = FOLDER / "_raw__models.yml"
KEYS_FILE = Path("macros/record_key.sql")
PAGE_FILE = Path("docs/input_layer.md")
TABLES_MACRO_FILE = Path("macros/input_tables.sql")

# A record that is known by then has an earlier version in the table.
_RUNNING_CONFIG = """{{{{
    config(
        materialized="running",
        unique_key={key},
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={{"tombstones": true}},
    )
}}}}

"""

FIRST_ARRIVED_ON = Column(
    "_first_arrived_on", Type.DATE, "Business day on which the first version of the record was known.", True
)
# Tables whose rows are read from the Parquet files (macro current_events); a model keeps their keys.
READ_IN_PLACE = frozenset({"events"})
# Tables that may hold tens of millions of rows, of which few repeat a key.
LARGE_TABLES = frozenset({"order_lines", "orders", "touches"})
# Tables that a brand keeps by hand, read whole every day; the others grow with the users, and a day reads what arrived since.
SMALL_TABLES = frozenset(
    {
        "benchmarks",
        "campaigns",
        "channel_costs",
        "contents",
        "groups",
        "landing_codes",
        "products",
        "staff",
        "targets",
    }
)
STAGED_TABLES = tuple(table for table in TABLES if table.name not in READ_IN_PLACE)


def sql_type(column: Column) -> str:
    """The type a column has in the warehouse, lower case; JSON is kept as text."""
    return "varchar" if column.type is Type.JSON else column.type.value.lower()


def model_name(table: Table) -> str:
    """The staging model of an input table."""
    return f"stg_raw__{table.name}"


def has_optional_key(table: Table) -> bool:
    """Whether the source may leave the whole key empty; such records each stand for themselves."""
    return bool(table.key) and not set(table.key) & set(table.required_columns)


def staging_columns(table: Table) -> tuple[Column, ...]:
    """Columns of a staging model, in order."""
    return (*table.columns, *RAW_COLUMNS, FIRST_ARRIVED_ON)


def staging_sql(table: Table) -> str:
    """SQL of a staging model, formatted as sqlfmt formats it."""
    is_running = table.name not in SMALL_TABLES
    source = f'source("raw", "{table.name}")'
    arguments = [
        f'raw_rows({source}, "{table.name}")' if is_running else source,
        f"key={_list(table.key)}",
    ]
    if table.name in LARGE_TABLES:
        arguments.append("few_repeat=true")
    if table.dated_by:
        arguments.append(f"late={_on_time(table, table.dated_by)}")
    call = f"{{{{ latest_version({', '.join(arguments)}) }}}}"
    if len(f"    latest as ({call}),") <= 110:
        latest = f"    latest as ({call}),"
    elif len(f"        {call}") <= 110:
        latest = f"    latest as (\n        {call}\n    ),"
    else:
        body = "".join(f"                {argument},\n" for argument in arguments)
        latest = f"    latest as (\n        {{{{\n            latest_version(\n{body}            )\n        }}}}\n    ),"
    config = ""
    if is_running:
        config = _RUNNING_CONFIG.format(key=_list(table.key))
        latest += f'\n    dated as ({{{{ known_since("latest", "{table.name}") }}}}),'
    casts = []
    for column in staging_columns(table):
        name = "_known_since" if is_running and column is FIRST_ARRIVED_ON else column.name
        if column.name.endswith("arrived_on"):
            name = f'{{{{ counts_from("{name}") }}}}'
        value = f"cast({name} as {sql_type(column).replace(',', ', ')})"
        casts.append(f"            {value} as {column.name}")
    final = (
        f"    {'typed' if is_running else 'final'} as (\n        select\n"
        + ",\n".join(casts)
        + f"\n        from {'dated' if is_running else 'latest'}\n    )"
    )
    if is_running:
        final += f',\n    final as ({{{{ staged_rows("typed", "{table.name}") }}}})'
    return (
        f"{{#- Written by `{COMMAND}`; change contracts.py instead. -#}}\n"
        f"{config}with\n{latest}\n{final}\nselect *\nfrom final\n"
    )


def _on_time(table: Table, column: str) -> str:
    """Jinja of the condition that the row's own day lies on or before as_of."""
    dated = table.column(column)
    if dated is not None and dated.type is Type.DATE:
        return f'"{column} <= " ~ as_of()'
    return f'happened("{column}")'


def sources_document() -> dict[str, Any]:
    """The dbt source `raw`: one table for each table of the input layer."""
    return {
        "version": 2,
        "sources": [
            {
                "name": "raw",
                "description": "Accepted rows of the input layer, every version of them. "
                "Read from the Parquet files that count on as_of.",
                "tables": [
                    {
                        "name": table.name,
                        "description": f"Every version of: {_plain(table.description)}",
                        "config": {
                            "meta": {
                                "external_location": f"read_parquet(jingxi_session.raw.{table.name}(), union_by_name=true)"
                            }
                        },
                        "columns": _columns((*table.columns, *RAW_COLUMNS)),
                    }
                    for table in TABLES
                ],
            }
        ],
    }


def models_document() -> dict[str, Any]:
    """Descriptions of the staging models."""
    return {
        "version": 2,
        "models": [
            {
                "name": model_name(table),
                "description": f"{table.description} The latest version known on as_of.",
                "columns": _columns(staging_columns(table)),
            }
            for table in STAGED_TABLES
        ],
    }


def record_key(table: Table) -> tuple[str, ...]:
    """SQL expressions over a raw row that versions of the same record share, the same as in staging."""
    if has_optional_key(table):
        first, *others = table.key
        return (f"coalesce({first}, _file_id || '-' || cast(_record as varchar))", *others)
    return table.key


def record_key_macro() -> str:
    """The macro that tells other macros the key of every input table."""
    rows = "".join(f'        "{table.name}": {_list(record_key(table))},\n' for table in TABLES if table.key)
    return (
        f"{{#- Written by `{COMMAND}`; change contracts.py instead. What versions of the same record share. -#}}\n"
        "{% macro record_key(table) -%}\n"
        f"    {{%- set keys = {{\n{rows}    }} -%}}\n"
        "    {{ return(keys[table]) }}\n"
        "{%- endmacro %}\n"
    )


def page() -> str:
    """The input layer for people who bring data, in Markdown."""
    lines = [
        f"<!-- Written by `{COMMAND}`; change contracts.py instead. -->",
        "# The input layer",
        "",
        "One folder per table below the landing folder, at any depth: `landing/orders/dt=2026-01-31/*.csv`. CSV (UTF-8 or",
        "GB18030; comma, semicolon or tab), JSON lines or Parquet, CSV and JSON lines also as `.gz`. Only tables that are",
        "there are used. `dt=` is the business day on which a file's rows were known. Columns that are not listed are kept",
        "in `properties` and reported. Timestamps are ISO 8601; without a zone they are business time.",
        "",
    ]
    for table in TABLES:
        key = ", ".join(f"`{name}`" for name in table.key)
        lines += [f"## {table.name}", "", f"{table.description} Key: {key}.", ""]
        lines += ["| column | type | needed | |", "|---|---|---|---|"]
        lines += [
            f"| `{column.name}` | {column.type.name.lower()} | {'yes' if column.required else ''} | "
            f"{column.description} |"
            for column in table.columns
        ]
        lines.append("")
    return "\n".join(lines)


def tables_macro() -> str:
    """Macro `input_tables`: the names of all input tables, formatted as sqlfmt formats it."""
    return (
        f"{{#- Names of all input tables. Written by `{COMMAND}`; change contracts.py instead. -#}}\n"
        "{% macro input_tables() -%}\n    {{\n        return(\n            [\n"
        + "".join(f'                "{table.name}",\n' for table in TABLES)
        + "            ]\n        )\n    }}\n{%- endmacro %}\n"
    )


def rendered_files() -> dict[Path, str]:
    """Text of every generated file, by path below the dbt project."""
    files = {SOURCES_FILE: _yaml(sources_document()), MODELS_FILE: _yaml(models_document())}
    files[PAGE_FILE] = page()
    files[KEYS_FILE] = record_key_macro()
    files[TABLES_MACRO_FILE] = tables_macro()
    files |= {FOLDER / f"{model_name(table)}.sql": staging_sql(table) for table in STAGED_TABLES}
    return files


def stale_files(project: Path = DBT_PROJECT_DIR) -> list[Path]:
    """Generated files that are missing, differ, or belong to no table any more; paths below the project."""
    files = rendered_files()
    stale = [path for path, text in files.items() if _read(project / path) != text]
    models = {path.relative_to(project) for path in (project / FOLDER).glob("stg_raw__*.sql")}
    return sorted([*stale, *(models - files.keys())])


def write_files(project: Path = DBT_PROJECT_DIR) -> list[Path]:
    """Bring the generated files up to date; returns those that changed, as paths below the project."""
    files = rendered_files()
    changed = stale_files(project)
    for path in changed:
        target = project / path
        if path in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path], encoding="utf-8")
        else:
            target.unlink()
    return changed


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _columns(columns: Sequence[Column]) -> list[dict[str, str]]:
    return [
        {"name": column.name, "description": column.description, "data_type": sql_type(column)}
        for column in columns
    ]


def _plain(description: str) -> str:
    return description[0].lower() + description[1:]


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _yaml(document: dict[str, Any]) -> str:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return f"# Written by `{COMMAND}`; change contracts.py instead.\n{text}"
