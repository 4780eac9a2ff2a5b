"""Guards on the size of an audience: a size that nobody expected is seen by a person before a file is written.

An audience is judged against its last files, not against the day before: what was held yesterday is still held today,
until its size is back within the bounds or a person accepts it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from orchestration.errors import HeldError
from orchestration.home import Home
from orchestration.writing import files


@dataclass(frozen=True)
class SizeGuard:
    """Bounds of the number of members, held-out ones included; a bound itself is allowed.

    max_change_percent: distance from the last files in percent of their members; from none to any is too far.
    """

    max_change_percent: int | Decimal | None = None
    min_members: int | None = None
    max_members: int | None = None


@dataclass(frozen=True)
class LastFiles:
    """The latest files of an audience that were written: their day and the members of that day."""

    as_of: dt.date
    members: int


def last_files(home: Home, audience: str, as_of: dt.date) -> LastFiles | None:
    """The latest complete export of the audience for `as_of` or a day before it, None when there is none."""
    found = None
    for manifest in (home.exports / audience).glob("*/manifest.json"):
        try:
            day = dt.date.fromisoformat(manifest.parent.name)
        except ValueError:
            continue
        members = (files.read_json(manifest) or {}).get("members")
        if day <= as_of and isinstance(members, int) and (found is None or day > found.as_of):
            found = LastFiles(day, members)
    return found


def objections(guard: SizeGuard, members: int, last: LastFiles | None) -> list[str]:
    """What the guard has against a size, each as the end of a sentence that begins with the number of members."""
    found = []
    if guard.min_members is not None and members < guard.min_members:
        found.append(f"fewer than the {guard.min_members:,} that its guard asks for")
    if guard.max_members is not None and members > guard.max_members:
        found.append(f"more than the {guard.max_members:,} that its guard allows")
    allowed = guard.max_change_percent
    if allowed is not None and last is not None:
        change = abs(members - last.members)
        if 100 * change > allowed * last.members:
            share = f"{100 * change / last.members:.1f} % " if last.members else ""
            word = "more" if members > last.members else "fewer"
            found.append(
                f"{share}{word} than the {last.members:,} of {last.as_of}, and its guard allows {allowed} %"
            )
    return found


def hold_back(home: Home, audience: str, guard: SizeGuard, as_of: dt.date, members: int) -> None:
    """Raise HeldError when the size on `as_of` is beyond the guard.

    Files of this very day with this many members were let through before, by the guard or by a person.
    """
    last = last_files(home, audience, as_of)
    if last == LastFiles(as_of, members):
        return
    found = objections(guard, members, last)
    if found:
        stays = f"the files of {last.as_of} stay" if last else "no file is written"
        raise HeldError(
            f"The files of {audience} are held: {members:,} members on {as_of} are {', and '.join(found)}; {stays}. "
            f"When the new size is right: jingxi export {audience} --accept"
        )
