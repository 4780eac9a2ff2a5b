"""Benchmark: connected components of identifier links in SQL against scipy, in one run.

    python -m tests.benchmarks --only identity

Three million links: stars of a person's identifiers whose sizes follow a power law, of which 6 % of the repeated ones
bridge two persons, and a chain of 2 000. Both sides read the links from Parquet and give the same components; scipy's
time holds the numbering of the identifiers that it needs. The goals are a ratio of at most 4.5 and 1 GB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.benchmarks.results import Measured
from tests.laws.components_support import ComponentMacros

GOAL = 4.5
_CHAIN = 2_000


def write_links(file: Path, links: int) -> None:
    """Links between numbers, in an order without meaning; the same on every machine."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64(20260131))
    persons = links // 3
    sizes = np.minimum(random.zipf(1.9, persons), 40)
    owner = np.repeat(np.arange(persons), sizes)[: links - _CHAIN]
    identifier = persons + np.arange(len(owner))
    again = random.integers(0, len(owner), links - _CHAIN - len(owner))
    bridges = random.random(len(again)) < 0.06
    other = np.where(bridges, random.integers(0, persons, len(again)), owner[again])
    chain = 200_000_000 + np.arange(_CHAIN + 1)
    a = np.concatenate([owner, other, chain[:-1]])
    b = np.concatenate([identifier, identifier[again], chain[1:]])
    order = random.permutation(len(a))
    with duckdb.connect() as connection:
        connection.register("links", {"a": a[order], "b": b[order]})
        connection.execute(f"copy links to '{file}' (format parquet)")


def scipy_components(file: Path) -> tuple[float, tuple[int, int, int]]:
    """Seconds, and (components, size of the largest, sum of the smallest nodes)."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    started = time.perf_counter()
    with duckdb.connect() as connection:
        links = connection.execute(f"select a, b from '{file}'").fetchnumpy()
    a, b = np.asarray(links["a"]), np.asarray(links["b"])
    nodes, number = np.unique(np.concatenate([a, b]), return_inverse=True)
    pairs = (number[: len(a)].astype(np.int32), number[len(a) :].astype(np.int32))
    graph = coo_matrix((np.ones(len(a), np.int8), pairs), shape=(len(nodes), len(nodes)))
    count, label = connected_components(graph, directed=False)
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, label, nodes)
    found = int(count), int(np.bincount(label).max()), int(smallest.sum())
    return time.perf_counter() - started, found


def sql_components(file: Path, database: Path) -> tuple[float, tuple[int, int, int]]:
    """The same by the project's macro, in a database file as a build has it."""
    with duckdb.connect(str(database), config={"memory_limit": "700MB"}) as connection:
        connection.execute("set preserve_insertion_order = false")
        started = time.perf_counter()
        result = ComponentMacros(connection).connected_components(f"select a, b from '{file}'")
        connection.execute(f"create table components as from {result}")
        row = connection.execute(
            "select count(*), max(size), sum(component) from "
            "(select component, count(*) as size from components group by 1)"
        ).fetchone()
        assert row is not None
        return time.perf_counter() - started, (int(row[0]), int(row[1]), int(row[2]))


def measure(small: bool) -> list[Measured]:
    """SQL against scipy, each in a process of its own; the best of two runs."""
    links = 150_000 if small else 3_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_links(folder / "links.parquet", links)
        yardstick, _, expected = min(_measure("scipy", folder) for _ in range(2))
        seconds, peak, found = min(_measure("sql", folder) for _ in range(2))
    if found != expected:
        raise SystemExit(f"SQL finds (components, largest, sum) {found}, scipy {expected}.")
    return [
        Measured(
            f"identity of {links / 1e6:g} M links",
            "`scipy.sparse.csgraph.connected_components`",
            seconds,
            seconds / yardstick,
            GOAL,
            peak_mb=peak,
        )
    ]


def _measure(step: str, folder: Path) -> tuple[float, float, tuple[str, ...]]:
    (folder / "graph.duckdb").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.identity", f"--step={step}", f"--folder={folder}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(output[0]), float(output[1]) * 1.024e-3, tuple(output[2:])


def main() -> None:
    """One step in a process of its own: seconds, kilobytes at most, what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--step", choices=("scipy", "sql"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    file = arguments.folder / "links.parquet"
    if arguments.step == "scipy":
        seconds, found = scipy_components(file)
    else:
        seconds, found = sql_components(file, arguments.folder / "graph.duckdb")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(f"{seconds} {peak} {' '.join(map(str, found))}\n")


if __name__ == "__main__":
    main()
