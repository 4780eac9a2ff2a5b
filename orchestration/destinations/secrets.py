"""Secrets of destinations: named in destinations.yml, kept in the environment or in a file of the owner's."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from orchestration.destinations.errors import ConfigurationError

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class SecretSource(BaseModel):
    """Where a secret is: `{env: NAME}` or `{file: PATH}` (mode 0600). It is read when it is needed, never stored."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise ValueError("name either env or file")
        if self.env is not None and not _ENVIRONMENT_NAME.match(self.env):
            raise ValueError("env must be the name of an environment variable")
        return self

    def read(self) -> str:
        """The secret, without white space around it. Raises ConfigurationError when it is missing or open to others."""
        value = self._from_environment() if self.env is not None else self._from_file()
        if not value.strip():
            raise ConfigurationError("secret_missing", f"Set {self._place}: it is not set or empty.")
        return value.strip()

    @property
    def _place(self) -> str:
        return f"the environment variable {self.env}" if self.env is not None else f"the file {self.file}"

    def _from_environment(self) -> str:
        return os.environ.get(self.env or "", "")

    def _from_file(self) -> str:
        file = self.file or Path()
        problem = ""
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                problem = f"The secret file {file} can be read by others: chmod 600 {file}"
            else:
                return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            problem = f"The secret file {file} cannot be read."
        raise ConfigurationError("secret_unreadable", problem)
