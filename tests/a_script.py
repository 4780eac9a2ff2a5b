"""Imported before DuckDB by the server of commands (tests/command.py): DuckDB takes a process without a script for a person's
session, and draws its progress among what the command prints."""

from __future__ import annotations

import sys

sys.modules["__main__"].__file__ = sys.executable
