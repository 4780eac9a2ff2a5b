"""Facts about time zones."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from zoneinfo import ZoneInfo

_LAST_RULED_YEAR = 2100  # zone rules repeat every year long before


@dataclass(frozen=True)
class SteadyOffset:
    """From the beginning of `since` on, in any zone, business time is UTC plus `seconds`."""

    since: dt.date
    seconds: int


@functools.cache
def steady_offset(zone: str) -> SteadyOffset | None:
    """Since when the zone has kept one offset for good; None when it still changes its clocks.

    Days are sampled; no zone changes its offset for less than a day.
    """
    info = ZoneInfo(zone)

    def offset_of(year: int) -> float | None:
        first = dt.datetime(year, 1, 1, tzinfo=info)
        offsets = {(first + dt.timedelta(days=day)).utcoffset() for day in range(366)}
        single = offsets.pop() if len(offsets) == 1 else None
        return single.total_seconds() if single is not None else None

    first = _LAST_RULED_YEAR
    offset = offset_of(first)
    if offset is None or offset != int(offset):
        return None
    while first > 1900 and offset_of(first - 1) == offset:
        first -= 1
    # Two days later no place on earth has the old year left.
    return SteadyOffset(dt.date(first, 1, 3), int(offset))
