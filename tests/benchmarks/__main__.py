"""All benchmarks, one after the other.

    python -m tests.benchmarks [--only NAME ...] [--small] [--wide FIGURES] [--keep FILE] [--write]

`--small` uses a twentieth of the data, to see that everything runs. `--wide` takes what `tests.benchmarks.wide --results`
wrote, measured at whatever size, instead of measuring the wide table again. `--keep` keeps the results by benchmark
in a file, from which those that are not asked for are taken: a large machine's hours can be spent one by one. `--write`
puts the table and the picture into the README.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from tests.benchmarks import wide
from tests.benchmarks.results import Measured, table, write_readme

# Each module has `measure(small: bool) -> list[Measured]`.
BENCHMARKS = ("intake", "identity", "wide", "audiences", "rules", "tags")


def main() -> None:
    """Run the benchmarks that are asked for and show what they measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--small", action="store_true", help="a twentieth of the data")
    parser.add_argument("--wide", type=Path, help="figures of the wide table measured before")
    parser.add_argument("--keep", type=Path, help="keep the results there, and take others from there")
    parser.add_argument("--write", action="store_true", help="write the README's section")
    arguments = parser.parse_args()
    kept: dict[str, list[Measured]] = {}
    if arguments.keep and arguments.keep.exists():
        for name, results in json.loads(arguments.keep.read_text()).items():
            kept[name] = [Measured(**result) for result in results]
    if arguments.wide:
        kept["wide"] = wide.ratios(json.loads(arguments.wide.read_text()))
    for name in arguments.only:
        if not (name == "wide" and arguments.wide):
            kept[name] = import_module(f"tests.benchmarks.{name}").measure(small=arguments.small)
        _keep(arguments.keep, kept)
    _keep(arguments.keep, kept)
    everything = [result for name in BENCHMARKS for result in kept.get(name, [])]
    sys.stdout.write(table(everything) + "\n")
    if arguments.write:
        write_readme(everything)


def _keep(file: Path | None, results: dict[str, list[Measured]]) -> None:
    if file:
        kept = {name: [asdict(result) for result in several] for name, several in results.items()}
        file.write_text(json.dumps(kept, indent=2))


if __name__ == "__main__":
    main()
