"""The home folder: one brand, one dataset, everything a run reads and writes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration.errors import JingxiError, UsageError

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_project"
SPECS_DIR = DBT_PROJECT_DIR / "specs"
SEEDS_DIR = PROJECT_ROOT / "seeds"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Origin:
    """Where a home's data comes from: a dataset with the folder of its files, or a landing folder."""

    dataset: str
    folder: str | None = None


@dataclass(frozen=True)
class Home:
    """Paths below one home folder. Making one touches nothing; `create` makes the folders."""

    path: Path

    @classmethod
    def from_environment(cls) -> Home:
        """The home named by JINGXI_HOME, else `.jingxi` below the current folder."""
        return cls(Path(os.environ.get("JINGXI_HOME") or ".jingxi").absolute())

    @property
    def landing(self) -> Path:
        """Input files, one folder per input table."""
        return self.path / "landing"

    @property
    def deliveries(self) -> Path:
        """What was sent, as files of the input table touches that wait to be taken in."""
        return self.path / "deliveries"

    @property
    def raw(self) -> Path:
        """Accepted rows: raw/<table>/<arrived_on>/<content-hash>.parquet, immutable."""
        return self.path / "raw"

    @property
    def rejected(self) -> Path:
        """Refused rows with file, line, column and reason."""
        return self.path / "rejected"

    @property
    def state(self) -> Path:
        """What a rebuild must not lose."""
        return self.path / "state"

    @property
    def intake_registry(self) -> Path:
        """SQLite file that knows every file taken in."""
        return self.state / "intake.sqlite"

    @property
    def identity_file(self) -> Path:
        """Which dataset and brand this home holds."""
        return self.state / "home.json"

    @property
    def secret_key_file(self) -> Path:
        """Key of every keyed hash; made once, mode 0600."""
        return self.path / "secret.key"

    @property
    def warehouse(self) -> Path:
        """The private DuckDB file that dbt builds; one writer."""
        return self.path / "warehouse" / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """What readers open."""
        return self.path / "published"

    @property
    def marts(self) -> Path:
        """The masked DuckDB file for BI."""
        return self.published / "marts.duckdb"

    @property
    def private_marts(self) -> Path:
        """Identifiers for export, profile and push; mode 0600."""
        return self.published / "private.duckdb"

    @property
    def publication_manifest(self) -> Path:
        """What is published now; replaced last."""
        return self.published / "manifest.json"

    @property
    def exports(self) -> Path:
        """Audience files: exports/<audience>/<as_of>/."""
        return self.path / "exports"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME of this home."""
        return self.path / "dagster"

    @property
    def dbt_target(self) -> Path:
        """dbt's target folder."""
        return self.path / "dbt"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.path / "logs"

    @property
    def temp(self) -> Path:
        """Spill files of DuckDB; may be deleted when nothing runs."""
        return self.path / "temp"

    @property
    def settings_file(self) -> Path:
        """Scalars that a person sets."""
        return self.path / "jingxi.yml"

    @property
    def lock_file(self) -> Path:
        """Held by the one run that may write."""
        return self.path / "run.lock"

    def create(self) -> None:
        """Make the folders that a run needs. Raises JingxiError when the place cannot be written."""
        try:
            for folder in (
                self.landing,
                self.raw,
                self.rejected,
                self.state,
                self.warehouse.parent,
                self.published,
                self.exports,
                self.dagster,
                self.dbt_target,
                self.logs,
                self.temp,
            ):
                folder.mkdir(parents=True, exist_ok=True)
                if folder != self.published:
                    folder.chmod(0o700)  # all but what is published holds personal data
        except OSError as error:
            raise JingxiError(
                f"Cannot write to the home folder {self.path}: {error.strerror}. "
                "Choose another place with --home."
            ) from error

    def secret_key(self) -> bytes:
        """The key of this home's keyed hashes, 32 bytes; made on first use with mode 0600."""
        file = self.secret_key_file
        try:
            key = bytes.fromhex(file.read_text().strip())
        except FileNotFoundError:
            return self._make_secret_key()
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise JingxiError(
                f"{file} does not hold a key of {_KEY_BYTES} bytes in hexadecimal. Restore it from a backup: "
                "every user_id depends on it."
            )
        return key

    @property
    def lost_its_key(self) -> bool:
        """Whether something was published with a key that is gone."""
        return self.marts.exists() and not self.secret_key_file.exists()

    def _make_secret_key(self) -> bytes:
        if self.lost_its_key:
            raise JingxiError(
                f"{self.secret_key_file} is gone, and every user_id published before depends on it. Restore it "
                "from a backup; to start over with new ids, delete the folder published."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        part = self.secret_key_file.with_suffix(f".{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            handle.write(secrets.token_bytes(_KEY_BYTES).hex() + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            os.link(part, self.secret_key_file)
        part.unlink()
        return self.secret_key()

    def origin(self) -> Origin | None:
        """Where this home's data comes from, None before the first run."""
        recorded = self._identity()
        return Origin(recorded["dataset"], recorded["folder"]) if "dataset" in recorded else None

    def _identity(self) -> dict[str, str]:
        try:
            return dict(json.loads(self.identity_file.read_text()))
        except FileNotFoundError:
            return {}

    def _record(self, **facts: str | None) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        part = self.identity_file.with_suffix(".part")
        part.write_text(json.dumps({**self._identity(), **facts}) + "\n")
        part.replace(self.identity_file)

    def check(self, origin: Origin) -> None:
        """Raises UsageError when this home holds another dataset."""
        recorded = self.origin()
        if recorded and recorded.dataset != origin.dataset:
            raise UsageError(
                f"{self.path} holds the dataset {recorded.dataset!r}, not {origin.dataset!r}. "
                f"Give {origin.dataset!r} a home of its own with --home."
            )

    def claim(self, origin: Origin) -> None:
        """Record where this home's data comes from. Raises UsageError when it holds another dataset."""
        self.check(origin)
        if self.origin() != origin:
            self._record(**asdict(origin))

    def check_fixed(self, facts: Mapping[str, str]) -> None:
        """Raises UsageError when this home was filled under other settings that its data depends on."""
        recorded = self._identity()
        for name, value in facts.items():
            if recorded.get(name, value) != value:
                raise UsageError(
                    f"{self.path} was filled with {name} {recorded[name]}, not {value}. "
                    f"Set {name} to {recorded[name]}, or give this data a home of its own with --home."
                )

    def fix(self, facts: Mapping[str, str]) -> None:
        """Record settings that cannot change any more once data is in. Raises as `check_fixed`."""
        self.check_fixed(facts)
        if not facts.items() <= self._identity().items():
            self._record(**facts)
