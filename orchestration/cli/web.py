"""`jingxi dev`: Dagster's web UI and daemon for one home."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from orchestration.home import PROJECT_ROOT, Home


def serve(home: Home, *, host: str, port: int) -> None:
    """Replace this process by `dagster dev`; ends with Ctrl-C or SIGTERM."""
    dagster = str(Path(sys.executable).with_name("dagster"))
    environment = {**os.environ, "JINGXI_HOME": str(home.path), "DAGSTER_HOME": str(home.dagster)}
    # `dagster` starts others by name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    os.chdir(PROJECT_ROOT)
    # What a script starts in the background ignores interrupts, and Dagster answers SIGTERM as it does these.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = ["dev", "-m", "orchestration.definitions", "-h", host, "-p", str(port)]
    os.execve(dagster, [dagster, *arguments], environment)  # noqa: S606
