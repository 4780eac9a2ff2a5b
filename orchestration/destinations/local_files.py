"""Files in a folder of this machine: `<folder>/<activation>/<run>/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestration.destinations.errors import ConfigurationError, DestinationError, Halted, PermissionDenied
from orchestration.destinations.file_stores import (
    Collector,
    FileDestination,
    FileSettings,
    TableCollector,
)
from orchestration.destinations.protocol import RunInfo
from orchestration.destinations.record_files import MANIFEST
from orchestration.destinations.registry import Surroundings
from orchestration.writing import files


class LocalFilesSettings(FileSettings):
    """`folder`: where deliveries go; relative to the home. The default is `deliveries` in the home."""

    folder: Path = Path("deliveries")


class LocalFiles(FileDestination):
    """Destination of kind `local_files`."""

    Settings = LocalFilesSettings

    def __init__(self, name: str, settings: LocalFilesSettings, surroundings: Surroundings) -> None:
        folder = (surroundings.home / settings.folder).absolute()
        super().__init__(name, surroundings.home, lambda: LocalStore(folder))
        self._settings = settings

    def collector(self, run: RunInfo, work: Path) -> Collector:
        """A table in the declared formats."""
        return TableCollector(run, self._settings.formats, work)


class LocalStore:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """See that the folder can be made and written. Raises PermissionDenied."""
        failure: DestinationError | None = None
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(self._root, os.W_OK | os.X_OK):
                failure = PermissionDenied(
                    "folder_not_writable", "The folder of the files cannot be written."
                )
        except OSError as error:
            failure = _failure(error)
        if failure is not None:
            raise failure

    def put(self, folder: Sequence[str], files_: Sequence[Path]) -> None:
        """Copy as `.part`, flush, then rename; the old manifest goes first. Raises DestinationError."""
        failure: DestinationError | None = None
        try:
            self._put(self._root.joinpath(*folder), files_)
        except OSError as error:
            failure = _failure(error)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Nothing is held."""

    def _put(self, target: Path, parts: Sequence[Path]) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not target.resolve().is_relative_to(self._root.resolve()):
            raise ConfigurationError(
                "folder_leads_out", "The folder of the files holds a link that leads out of it."
            )
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.mkdir(mode=0o700, exist_ok=True)
        for left in target.glob("*.part"):
            files.remove(left)
        if all(_is_same(part, target / part.name) for part in parts):
            return
        (target / MANIFEST).unlink(missing_ok=True)
        files.flush_folder(target)
        for part in parts:
            if _is_same(part, target / part.name):
                continue
            beside = target / (part.name + ".part")
            with part.open("rb") as source, beside.open("xb") as copy:
                os.fchmod(copy.fileno(), 0o600)
                shutil.copyfileobj(source, copy, 1 << 20)
            files.switch(beside, target / part.name)


def _is_same(own: Path, there: Path) -> bool:
    return files.is_intact(there, own.stat().st_size, files.sha256(own))


def _failure(error: OSError) -> DestinationError:
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if isinstance(error, PermissionError):
        return PermissionDenied("folder_not_writable", "The folder of the files cannot be written.")
    return Halted("files_not_written", f"The files could not be written: {reason}.")
