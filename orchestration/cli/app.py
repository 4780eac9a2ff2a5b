"""The commands. Heavy imports stay inside the commands that need them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import os
import sys
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.settings import load_settings

app = typer.Typer(
    help="Jingxi (精细): from the data a brand owns to the right message for each part of its users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Every error is one sentence; add --debug for the traceback.",
)
# Named, so that what a person is told still reaches the terminal while the job's own output goes to a log.
console = Console(file=sys.stdout)
warnings = Console(file=sys.stderr)

HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="JINGXI_HOME", help="Folder with everything of one brand."),
]
SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="Settings file instead of <home>/jingxi.yml.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, as name=value; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_HOME = Path(".jingxi")


class Format(StrEnum):
    """File formats of an export."""

    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"


class NewSpec(StrEnum):
    """Kinds of spec that `jingxi new` writes."""

    AUDIENCE = "audience"
    TAG = "tag"
    FUNNEL = "funnel"
    ACTIVATION = "activation"


def _home(path: Path) -> Home:
    home = Home(path.absolute())
    os.environ["JINGXI_HOME"] = str(home.path)
    return home


def _day(text: str | None, option: str) -> dt.date | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text} is no date; write it as 2026-06-30.") from error


def _print_json(value: Any) -> None:
    print(json.dumps(_plain(value), ensure_ascii=False, indent=2, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    """JSON knows neither decimals nor infinities."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


@app.command()
def run(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Bundled dataset, or the path of an adapter file. Default: sample, or this home's own."
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    landing: Annotated[Path | None, typer.Option(help="Folder with files of the input layer.")] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="Business day, such as 2026-06-30.")] = None,
    home: HomeOption = DEFAULT_HOME,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build everything again, even when nothing is new.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad files aside and go on without them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait while another run writes.")] = True,
    settings: SettingsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in what landed, build, check, publish, write audience files."""
    from orchestration.cli.running import RunOrder, run_main_job

    order = RunOrder(
        home=_home(home),
        dataset=dataset,
        source=source,
        landing=landing,
        as_of=_day(as_of, "--as-of"),
        full_refresh=full_refresh,
        quarantine=quarantine,
        wait=wait,
        settings_file=settings,
        overrides=tuple(set_ or ()),
    )
    summary = run_main_job(order, console=None if as_json else console, warnings=warnings)
    if as_json:
        _print_json(summary.to_dict())
    else:
        summary.show(console)


@app.command("check-state")
def check_state(
    home: HomeOption = DEFAULT_HOME,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait while another run writes.")] = True,
    settings: SettingsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the wide table from the raw files beside the running state; any difference is status 1."""
    from orchestration.lock import RunLock
    from orchestration.warehouse.state_check import check_state as compare_with_rebuild

    place = _home(home)
    loaded, _ = load_settings(place, settings_file=settings, overrides=tuple(set_ or ()))
    with RunLock(place).hold(
        "jingxi check-state",
        wait=wait,
        on_wait=lambda holder: warnings.print(f"Waiting for {holder}.", markup=False),
    ):
        outcome = compare_with_rebuild(place, loaded)
    if as_json:
        _print_json({**dataclasses.asdict(outcome), "is_equal": outcome.is_equal})
    elif outcome.is_equal:
        console.print(str(outcome), highlight=False, markup=False, soft_wrap=True)
    else:
        raise JingxiError(str(outcome))
    if not outcome.is_equal:
        raise typer.Exit(1)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write landing files to.")],
    users: Annotated[int, typer.Option(min=1, help="Persons.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Business days.")] = 120,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Simulate a beauty brand: input files, with the planted truth beside them."""
    from orchestration.ingestion.simulator import simulate as simulate_brand

    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty. Name a new folder with --out.")
    with console.status("Simulating") as status:
        result = simulate_brand(
            out,
            users=users,
            days=days,
            seed=seed,
            on_progress=status.update,
        )
    if as_json:
        _print_json(dataclasses.asdict(result))
        return
    table = Table("table", "rows", title=f"{users:,} persons, {days} days, in {out}", title_justify="left")
    table.columns[1].justify = "right"
    for name, rows in result.rows.items():
        table.add_row(name, f"{rows:,}")
    console.print(table)
    console.print(f"{result.files:,} files; what was planted lies in {result.truth}", soft_wrap=True)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One select on the published marts.")],
    home: HomeOption = DEFAULT_HOME,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask the published marts; nothing can be changed."""
    from orchestration.publishing.queries import query as ask
    from orchestration.publishing.queries import write_csv

    if csv:
        write_csv(_home(home), query, sys.stdout)
        return
    result = ask(_home(home), query)
    if as_json:
        _print_json([dict(zip(result.columns, row, strict=True)) for row in result.rows])
        return
    table = Table(*(escape(column) for column in result.columns))
    for row in result.rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    console.print(table)


@app.command("compile")
def compile_(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail when something is stale.")
    ] = False,
) -> None:
    """Turn specs and contracts into SQL, catalogues, exposures and docs."""
    from orchestration.specs.compiler import check_compiled, write_compiled
    from orchestration.warehouse.contract_models import stale_files, write_files

    if check:
        stale = [*(f"dbt_project/{path}" for path in stale_files()), *check_compiled()]
        if stale:
            raise JingxiError(f"Stale: {', '.join(stale)}. Run `jingxi compile`.")
        console.print("Every generated file is up to date.")
        return
    changed = [*(f"dbt_project/{path}" for path in write_files()), *write_compiled()]
    console.print("\n".join(f"wrote {file}" for file in changed) or "Nothing to write.")


@app.command()
def new(
    kind: Annotated[NewSpec, typer.Argument(help="What to declare.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, underscores.")],
) -> None:
    """Write a commented spec file to fill in; nothing that exists is touched."""
    from orchestration.specs.new import new_spec

    file = new_spec(kind.value, name)
    console.print(f"Wrote {file}", markup=False, highlight=False, soft_wrap=True)
    look = f"jingxi push {name} --dry-run" if kind is NewSpec.ACTIVATION else f"jingxi preview {name}"
    console.print(f"Fill in the lines marked <-, then look: `{look}`.", markup=False, highlight=False)


@app.command()
def preview(
    name: Annotated[
        str, typer.Argument(help="Audience, tag, family of tags or funnel, or the path of a spec file.")
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """What a rule finds in the published marts: how many, who is left out and why, overlaps. Nothing is written."""
    from orchestration.specs.preview import preview_spec

    result = preview_spec(name, _home(home))
    if as_json:
        _print_json(result.to_dict())
    else:
        result.show(console)


@app.command()
def user(
    identifier: Annotated[
        str,
        typer.Argument(
            help="Phone, e-mail, member number, unionid, any other identifier, or a user_id. `-` reads it from the "
            "standard input, so that it stays out of the shell's history."
        ),
    ],
    type_: Annotated[
        str | None,
        typer.Option(
            "--type", help="Kind of the identifier (phone, member_id, …) when several users have it."
        ),
    ] = None,
    why: Annotated[
        str | None,
        typer.Option(help="Audience: which of its conditions hold for the user, and which do not."),
    ] = None,
    show_identifiers: Annotated[
        bool,
        typer.Option(
            "--show-identifiers", help="Show identifiers and the name in clear: personal data on the screen."
        ),
    ] = False,
    timeline: Annotated[int, typer.Option(min=0, help="Lines of the timeline.")] = 15,
    everything: Annotated[bool, typer.Option("--all", help="Show facts that are zero or no, too.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show one user: profile, tags, segments with reasons, timeline, messages. Identifiers are masked."""
    from orchestration.cli.profile_view import show_profile
    from orchestration.publishing.profile import Question, user_profile

    target = _home(home)
    settings, _ = load_settings(target)
    typed = sys.stdin.readline() if identifier == "-" else identifier
    profile = user_profile(Question(typed, type_, why, show_identifiers), target, settings)
    if as_json:
        _print_json(profile.to_dict())
    else:
        show_profile(profile, console, everything=everything, most=timeline)


@app.command()
def export(
    audience: Annotated[str, typer.Argument(help="Declared audience.")],
    home: HomeOption = DEFAULT_HOME,
    format_: Annotated[
        list[Format] | None,
        typer.Option("--format", help="csv, xlsx or parquet; may be repeated. Default: as declared."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Write the files although the audience's guard holds them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an audience's files again from the published marts."""
    from orchestration.lock import RunLock
    from orchestration.publishing.audience_files import write_audience_files
    from orchestration.publishing.exports import declared_export

    target = _home(home)
    declared = declared_export(audience)
    settings, _ = load_settings(target)
    with RunLock(target).hold(
        f"jingxi export {audience}", on_wait=lambda who: warnings.print(f"Waiting for {who}.")
    ):
        result = write_audience_files(
            target,
            declared,
            formats=[kind.value for kind in format_] if format_ else None,
            settings=settings,
            accept=accept,
        )
    if as_json:
        _print_json(result.to_dict())
        return
    console.print(f"{result.rows:,} users, {result.held_out:,} held out, as of {result.as_of}:")
    for file in result.files:
        console.print(f"  {file.path}", soft_wrap=True)


@app.command()
def push(
    audience: Annotated[
        str | None, typer.Argument(help="Audience, or name of one activation line. Default: every line.")
    ] = None,
    destination: Annotated[str | None, typer.Option(help="Only lines to this destination.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; write nothing, call nothing.")
    ] = False,
    approve: Annotated[
        str | None, typer.Option(help="Run that waits for a person: let it go.", metavar="RUN")
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="List the last runs instead.")] = False,
    home: HomeOption = DEFAULT_HOME,
    settings: SettingsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send audiences to their destinations: what is new, changed or gone since the last time, nothing twice."""
    from orchestration.cli import pushing

    if approve and (audience or destination or dry_run):
        raise UsageError("--approve names a run; leave audience, --destination and --dry-run out.")
    target = _home(home)
    loaded, _ = load_settings(target, settings_file=settings, overrides=tuple(set_ or ()))
    order = pushing.PushOrder(target, loaded, audience, destination, dry_run, approve)
    shown = None if as_json else console
    told, well = (pushing.show_runs(order, shown), True) if runs else pushing.push(order, shown)
    if as_json:
        _print_json(told)
    if not well:
        raise typer.Exit(1)


@app.command()
def retry(
    activation: Annotated[
        str | None, typer.Argument(help="Audience, or name of one activation line. Default: every line.")
    ] = None,
    run_: Annotated[
        str | None,
        typer.Option(
            "--run", help="Run whose records in doubt you know about; with --sent or so.", metavar="RUN"
        ),
    ] = None,
    sent: Annotated[bool, typer.Option("--sent", help="All of them arrived.")] = False,
    not_sent: Annotated[
        bool, typer.Option("--not-sent", help="None of them arrived; they are sent.")
    ] = False,
    arrived: Annotated[
        Path | None, typer.Option(help="File with the keys that arrived, one a line; the others did not.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    settings: SettingsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try again what was refused for good (dead letters, a destination that was switched off), or say what became of records in doubt."""
    from orchestration.cli import pushing

    target = _home(home)
    loaded, _ = load_settings(target, settings_file=settings, overrides=tuple(set_ or ()))
    order = pushing.PushOrder(target, loaded, activation, retry=True)
    shown = None if as_json else console
    decisions = sum((sent, not_sent, arrived is not None))
    if bool(run_) != bool(decisions) or decisions > 1:
        raise UsageError("Give --run with exactly one of --sent, --not-sent and --arrived, or none of them.")
    if run_:
        told: Any = pushing.decide(order, run_, arrived=arrived, sent=sent, console=shown)
        well = True
    else:
        told, well = pushing.push(order, shown)
    if as_json:
        _print_json(told)
    if not well:
        raise typer.Exit(1)


@app.command()
def doctor(
    home: HomeOption = DEFAULT_HOME,
    settings: SettingsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check installation, settings, lock, disk and published marts, and say what to do."""
    from orchestration.cli.checkup import check_up

    target = _home(home)
    values, sources = load_settings(target, settings_file=settings, overrides=set_ or ())
    findings = check_up(target, values)
    if as_json:
        _print_json(
            {
                "findings": [finding.to_dict() for finding in findings],
                "settings": values.model_dump(mode="json"),
                "sources": sources,
            }
        )
    else:
        table = Table("", "what", "found", "what to do", title=str(target.path), title_justify="left")
        for finding in findings:
            table.add_row(
                "[green]ok" if finding.ok else "[red]no",
                finding.what,
                escape(finding.found),
                escape(finding.advice),
            )
        console.print(table)
        listing = Table("setting", "value", "from", title="Settings", title_justify="left")
        for name, source in sources.items():
            value: Any = values
            for part in name.split("."):
                value = getattr(value, part)
            listing.add_row(name, escape(str(value)), source)
        console.print(listing)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def dev(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Open Dagster's web UI with the schedules of this home."""
    from orchestration.cli.running import prepare_dagster
    from orchestration.cli.web import serve

    target = _home(home)
    values, _ = load_settings(target)
    prepare_dagster(target, values)
    serve(target, host=host, port=port)
