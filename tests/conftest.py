"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fakes.receiver import FakeReceiver

# Laws say what is true, not how fast: a slow moment of the machine is no counter-example.
settings.register_profile("jingxi", deadline=None)
settings.load_profile("jingxi")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets and oracles beside the project (or in JINGXI_SHARED_DATA); the test is skipped without them."""
    named = os.environ.get("JINGXI_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not beside the project")
    return folder.resolve()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReceiver]:
    """A webhook receiver at work, its secret in the environment variable HOOK_SECRET."""
    monkeypatch.setenv("HOOK_SECRET", FakeReceiver.SECRET)
    with FakeReceiver() as server:
        yield server
