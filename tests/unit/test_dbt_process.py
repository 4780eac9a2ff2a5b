"""dbt as Jingxi starts it."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt_common.events.base_types import EventLevel, EventMsg
from dbt_common.events.event_manager import EventManager
from dbt_common.events.logger import LineFormat, LoggerConfig
from dbt_common.events.types import Note

from orchestration.assets import warehouse
from orchestration.assets.warehouse import _with_row_counts
from orchestration.home import Home
from orchestration.warehouse.quick_dbt import make_no_debug_events


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # Put back afterwards, whoever was first to make dbt quick.
    monkeypatch.setattr(EventManager, "fire_event", EventManager.fire_event)
    make_no_debug_events.__wrapped__()


def _words(message: EventMsg) -> str:
    return str(getattr(message.info, "msg"))  # noqa: B009 (made by protobuf, not known to type checkers)


def _shown(level: EventLevel) -> tuple[str, list[str]]:
    """What a log of that level shows of two events, and what was made of them."""
    made: list[str] = []
    manager, stream = EventManager(), io.StringIO()

    manager.add_callback(lambda message: made.append(_words(message)))
    manager.add_logger(
        LoggerConfig(
            name=f"quick_{level}",
            line_format=LineFormat.PlainText,
            level=level,
            output_stream=stream,
            scrubber=str,
        )
    )
    manager.fire_event(Note(msg="few of these"), level=EventLevel.INFO)
    manager.fire_event(Note(msg="many of these"), level=EventLevel.DEBUG)
    return stream.getvalue(), made


@pytest.mark.usefixtures("quick")
def test_events_that_no_log_shows_are_not_made() -> None:
    written, made = _shown(EventLevel.INFO)
    assert made == ["few of these"]
    assert "few of these" in written


@pytest.mark.usefixtures("quick")
def test_a_debug_log_shows_everything() -> None:
    written, made = _shown(EventLevel.DEBUG)
    assert made == ["few of these", "many of these"]
    assert all(words in written for words in made)


@pytest.mark.parametrize("how", ["closed", "failed"])
@pytest.mark.parametrize(
    ("asked", "ends_by"), [(signal.SIG_DFL, signal.SIGTERM), (signal.SIG_IGN, signal.SIGKILL)]
)
def test_a_run_that_goes_no_further_does_not_wait_for_dbt(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    asked: signal.Handlers,
    ends_by: signal.Signals,
) -> None:
    """As `jingxi run | head` does: what dbt prints fills the pipe, and nobody empties it. Who starts a run may have it
    ignore requests to end, and dbt does then too."""
    monkeypatch.setattr(warehouse, "GRACE_SECONDS", 0.2)

    class Call:
        process = subprocess.Popen(
            ["yes"], stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGTERM, asked)
        )

        def stream(self) -> Iterator[object]:
            yield object()
            if how == "failed":
                raise BrokenPipeError
            yield object()

    call: Any = Call()
    context: Any = None
    events = _with_row_counts(context, call, Home(tmp_path))
    next(events)
    if how == "closed":
        events.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(BrokenPipeError):
            next(events)
    assert call.process.poll() == -ends_by
    call.process.stdout.close()
