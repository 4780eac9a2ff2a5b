"""Days of a simulation, its seasons, and where its random numbers come from.

All moments inside the simulator are seconds of business time since the first day's midnight; NEVER stands for
what does not happen.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

DAY = 86_400
HOUR = 3_600
NEVER = 1 << 40

# (month, first day, last day, how much more happens): the sales festivals of Chinese retail.
FESTIVALS: tuple[tuple[int, int, int, float], ...] = (
    (1, 15, 18, 1.3),
    (3, 5, 8, 1.6),
    (5, 18, 20, 1.4),
    (6, 15, 18, 2.2),
    (8, 16, 18, 1.3),
    (9, 8, 10, 1.3),
    (11, 8, 11, 2.6),
    (12, 10, 12, 1.7),
)
_WEEKDAY_FACTOR = (0.93, 0.94, 1.02, 0.97, 1.05, 1.12, 1.03)  # Monday first


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A generator that belongs to one purpose (and day, say), so that no draw depends on another's order."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode()), *numbers]))


@dataclass(frozen=True)
class Window:
    """The simulated days: `days` of them, the last one `end`."""

    end: dt.date
    days: int

    @property
    def start(self) -> dt.date:
        """The first day."""
        return self.end - dt.timedelta(days=self.days - 1)

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return self.days * DAY

    def date(self, day: int) -> dt.date:
        """The date of a day counted from 0; negative days lie before the first one."""
        return self.start + dt.timedelta(days=int(day))

    def day(self, date: dt.date) -> int:
        """The number of a date, 0 for the first day."""
        return (date - self.start).days

    def season(self) -> Floats:
        """How busy each day is; 1 is an ordinary one."""
        factors = np.array([_WEEKDAY_FACTOR[self.date(day).weekday()] for day in range(self.days)])
        for first, last, factor in self.festivals():
            inside = slice(max(first, 0), max(last + 1, 0))
            factors[inside] *= factor
        return factors

    def festivals(self) -> list[tuple[int, int, float]]:
        """(first day, last day, factor) of the festivals that touch the days or the year before them."""
        found = []
        for year in range(self.start.year - 2, self.end.year + 1):
            for month, first, last, factor in FESTIVALS:
                begins = self.day(dt.date(year, month, first))
                if begins < self.days:
                    found.append((begins, begins + last - first, factor))
        return sorted(found)

    def periods(self, length: int) -> list[tuple[int, int]]:
        """(first day, last day) of stretches of `length` days; the last one ends with the window."""
        ends = list(range(self.days - 1, -1, -length))[::-1]
        starts = [0, *(end + 1 for end in ends[:-1])]
        return list(zip(starts, ends, strict=True))
