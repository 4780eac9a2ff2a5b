"""The dbt executable of this environment: dbt itself, which ends when the run that started it ends, and is quicker.

Installed as `jingxi-dbt` and named to Dagster, so that no `dbt` from PATH is used. Without this a run that is killed
leaves dbt behind, still writing to the warehouse.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from importlib.metadata import version
from typing import Any

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


@functools.cache
def make_no_debug_events() -> None:
    """Let dbt make an event of level debug only for a log that shows it.

    dbt fills in, renders and scrubs some twenty of them for each model before it drops each by its level: a sixth of
    the processor time of a build of small tables.
    """
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    fire_event = EventManager.fire_event

    def fire_if_shown(
        self: EventManager, e: BaseEvent, level: EventLevel | None = None, *args: Any, **kwargs: Any
    ) -> None:
        shown = (logger.level == EventLevel.DEBUG for logger in self.loggers)
        if (level or e.level_tag()) != EventLevel.DEBUG or any(shown):
            fire_event(self, e, level, *args, **kwargs)

    EventManager.fire_event = fire_if_shown  # type: ignore[method-assign]


def main() -> None:
    """Run dbt with this process's arguments."""
    if sys.argv[1:] == ["--version"]:
        # dbt's own --version asks a package registry for newer ones.
        print(f"installed: {version('dbt-core')}")
        return
    watch_parent()
    make_no_debug_events()
    from dbt.cli.main import cli

    cli()


if __name__ == "__main__":
    main()
