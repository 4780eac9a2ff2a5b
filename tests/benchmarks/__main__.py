"""All benchmarks, one after the other: `python -m tests.benchmarks [--only NAME ...] [--small] [--write]`.

`--small` uses a twentieth of the data, to see that everything runs. `--write` puts the table and the picture into
the README.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from tests.benchmarks.results import Measured, table, write_readme

# Each module has `measure(small: bool) -> list[Measured]`.
BENCHMARKS = ("intake", "identity", "wide", "audiences", "rules")


def main() -> None:
    """Run the benchmarks that are asked for and show what they measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--small", action="store_true", help="a twentieth of the data")
    parser.add_argument("--write", action="store_true", help="write the README's section")
    arguments = parser.parse_args()
    results: list[Measured] = []
    for name in arguments.only:
        results += import_module(f"tests.benchmarks.{name}").measure(small=arguments.small)
    sys.stdout.write(table(results) + "\n")
    if arguments.write:
        write_readme(results)


if __name__ == "__main__":
    main()
