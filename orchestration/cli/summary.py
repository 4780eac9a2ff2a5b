"""The end of `jingxi run`, for a person."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.home import Home
from orchestration.publishing.health import UNUSUAL, in_short

_REJECTS_SHOWN = 10
_FINDINGS_SHOWN = 5


def _right(table: Table, *columns: int) -> Table:
    for column in columns:
        table.columns[column].justify = "right"
    return table


def show_summary(summary: dict[str, Any], home: Home, console: Console) -> None:
    """Print what was taken in, what was refused, what was built and where it lies."""
    _show_explained(summary["explained"], console)
    if summary["intake"]:
        table = _right(Table("taken in", "files", "records", "accepted", "rejected"), 1, 2, 3, 4)
        for name, numbers in summary["intake"].items():
            table.add_row(
                name,
                *(f"{numbers[column]:,}" for column in ("files taken in", "records", "accepted", "rejected")),
            )
        console.print(table)
    else:
        console.print("Nothing new to take in.")
    rejected = sum(numbers["rejected"] for numbers in summary["intake"].values())
    _show_rejects(summary["rejects"], rejected, home, console)
    _show_health(summary["health"], console)
    marts = _right(Table("mart", "rows"), 1)
    for name, rows in summary["marts"].items():
        marts.add_row(name, f"{rows:,}")
    console.print(marts)
    if summary["audiences"]:
        table = _right(Table("audience", "users", "held out"), 1, 2)
        for name, numbers in summary["audiences"].items():
            table.add_row(name, f"{numbers['dagster/row_count']:,}", f"{numbers['held out']:,}")
        console.print(table)
    for sentence in summary["held"].values():
        console.print(f"  [red]held[/red]  {escape(sentence)}", highlight=False, soft_wrap=True)
    published = summary["published"]
    state = "unchanged" if published.get("unchanged") else f"{summary['checks_passed']:,} checks passed"
    console.print(
        f"As of {summary['as_of']}, version {published.get('version')} ({state}), {summary['seconds']:.0f} s.\n"
        f"  BI opens        {home.marts}\n"
        f"  Parquet         {home.published / 'parquet' / str(published.get('version'))}\n"
        f"  audience files  {home.exports}\n"
        f'  ask             jingxi sql "select cell_zh, count(*) as users from rfm_segments group by all"',
        highlight=False,
        soft_wrap=True,
    )


def _show_explained(explained: dict[str, Any], console: Console) -> None:
    for name, source in explained.get("inputs", {}).items():
        table = _right(Table(f"{name}: where each line went", "lines"), 1)
        for reason, lines in source.items():
            table.add_row(escape(str(reason)), f"{lines:,}" if isinstance(lines, int) else str(lines))
        console.print(table)


def _show_rejects(rejects: list[dict[str, Any]], rejected: int, home: Home, console: Console) -> None:
    if not rejects:
        return
    table = _right(Table("rejected in", "line", "column", "why"), 1)
    for reject in rejects[:_REJECTS_SHOWN]:
        line = "" if reject["line"] is None else str(reject["line"])
        table.add_row(escape(reject["file"]), line, escape(reject["column"]), escape(reject["reason"]))
    console.print(table)
    if rejected > _REJECTS_SHOWN:
        console.print(f"and {rejected - _REJECTS_SHOWN:,} more, all kept in {home.rejected}", soft_wrap=True)


def _show_health(health: list[dict[str, Any]], console: Console) -> None:
    """Say in a line or two which input is not as usual."""
    if not health:
        return
    counts = Counter(finding["status"] for finding in health)
    unusual = sorted(
        (finding for finding in health if finding["status"] in UNUSUAL),
        key=lambda finding: (finding["status"] != "fail", finding["table"], finding["check"]),
    )
    console.print(f"Data health: {in_short(counts)}.", soft_wrap=True)
    for finding in unusual[:_FINDINGS_SHOWN]:
        mark = "[red]fail[/red]" if finding["status"] == "fail" else "[yellow]warn[/yellow]"
        console.print(f"  {mark}  {escape(finding['sentence'])}", highlight=False, soft_wrap=True)
    if len(unusual) > _FINDINGS_SHOWN:
        console.print(
            f"  and {len(unusual) - _FINDINGS_SHOWN} more: "
            "jingxi sql \"select sentence from data_health where status in ('warn', 'fail')\"",
            highlight=False,
            soft_wrap=True,
        )
