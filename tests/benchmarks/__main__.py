"""All benchmarks, one after the other: `python -m tests.benchmarks`."""

from __future__ import annotations

from tests.benchmarks import intake

if __name__ == "__main__":
    intake.main()
