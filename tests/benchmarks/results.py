"""What a benchmark measured, as a table, a picture and the README's section."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PICTURE = ROOT / "dbt_project" / "docs" / "performance.svg"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Measured:
    """One ratio: how often the yardstick, which ran in the same minute, fits into what was measured.

    `seconds` is what `ratio` is made of: wall-clock time, or processor time where `measure` is "CPU".
    `peak_mb` is the greatest resident memory of the process, in MB (10^6 bytes); None when not measured.
    """

    what: str
    yardstick: str
    seconds: float
    ratio: float
    goal: float | None = None
    measure: str = "wall"
    peak_mb: float | None = None

    @property
    def is_reached(self) -> bool:
        """Whether the goal is kept; true without a goal."""
        return self.goal is None or self.ratio <= self.goal


def table(results: Sequence[Measured]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| what | yardstick in the same run | ratio | goal | seconds | memory at most |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for result in results:
        goal = "" if result.goal is None else f"≤ {result.goal:g}"
        memory = "" if result.peak_mb is None else f"{result.peak_mb / 1000:.1f} GB"
        lines.append(
            f"| {result.what} | {result.yardstick} | {result.ratio:.2f} × {result.measure} | {goal} "
            f"| {result.seconds:.1f} | {memory} |"
        )
    return "\n".join(lines)


def draw(results: Sequence[Measured], file: Path) -> None:
    """A bar per result as a share of its goal: within the line is within the goal. Writes an SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "jingxi"
    shown = [result for result in results if result.goal is not None]
    shares = [result.ratio / result.goal for result in shown if result.goal]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.42 * len(shown)), layout="constrained")
    colours = ["#2f7d5b" if result.is_reached else "#b5432e" for result in shown]
    places = range(len(shown))  # two results may have one name: wall clock and processor
    axes.barh(places, shares, color=colours, height=0.6)
    axes.set_yticks(places, [result.what for result in shown])
    axes.axvline(1, color="#333333", linewidth=1)
    for place, share, result in zip(places, shares, shown, strict=True):
        text = f" {result.ratio:.2f} × {result.measure} of ≤ {result.goal:g}"
        axes.text(max(share, 1.0), place, text, va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max([1.0, *shares]) * 1.7)
    axes.set_xlabel("share of the goal (the line); less is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def write_readme(results: Sequence[Measured]) -> None:
    """Put table and picture into the README's performance section."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    draw(results, PICTURE)
    machine = f"Measured with {platform.python_implementation()} {platform.python_version()} on {platform.machine()}."
    body = (
        f"{table(results)}\n\n![Each ratio as a share of its goal]({PICTURE.relative_to(ROOT)})\n\n{machine}"
    )
    README.write_text(f"{before}{_BEGIN}\n{body}\n{_END}{after}", encoding="utf-8")
