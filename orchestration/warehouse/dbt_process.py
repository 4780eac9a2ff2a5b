"""The dbt executable of this environment: dbt itself, which ends when the run that started it ends, and is quicker.

Installed as `jingxi-dbt` and named to Dagster, so that no `dbt` from PATH is used. Without this a run that is killed
leaves dbt behind, still writing to the warehouse.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

from orchestration.warehouse.quick_dbt import TEMPLATES, make_quick, templates_in, write_no_manifest

# Process of the run that started dbt; named, because it may be gone before dbt looks.
RUN_VARIABLE = "JINGXI_RUN_PROCESS"
_POLL_SECONDS = 0.5
_KILLED = 137


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(_KILLED)


def watch_parent() -> None:
    """End this process as soon as the run that started it is gone."""
    parent = int(os.environ.get(RUN_VARIABLE) or os.getppid())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def main() -> None:
    """Run dbt with this process's arguments."""
    if sys.argv[1:] == ["--version"]:
        # dbt's own --version asks a package registry for newer ones.
        print(f"installed: {version('dbt-core')}")
        return
    watch_parent()
    make_quick()
    if {"build", "test"} & set(sys.argv[1:]):
        write_no_manifest()
    from dbt.cli.main import cli

    target = os.environ.get("DBT_TARGET_PATH")
    with templates_in(Path(target) / TEMPLATES) if target else nullcontext():
        cli()


if __name__ == "__main__":
    main()
