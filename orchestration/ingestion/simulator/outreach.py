"""Touches: welcome, weekly news, birthday wishes and win-back, with answers that follow who the people are."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import Brand
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.purchases import Orders
from orchestration.ingestion.simulator.window import DAY, HOUR, NEVER, Flags, Ints, Window, generator

TOUCH_CHANNELS = ("wecom", "sms", "email")
WECOM_TOUCH, SMS, MAIL = range(len(TOUCH_CHANNELS))
_CHANNEL_KIND = (kinds.CONTACT, kinds.PHONE, kinds.EMAIL)
NODES = ("welcome", "weekly_news", "birthday", "winback", "promotion")
STATUSES = ("sent", "delivered", "failed", "opened", "clicked", "replied", "unsubscribed")
SENT, DELIVERED, FAILED, OPENED, CLICKED, REPLIED, UNSUBSCRIBED = range(len(STATUSES))


@dataclass(frozen=True)
class Touches:
    """One element per touch and status."""

    touch: Ints
    person: Ints
    channel: Ints
    node: Ints
    status: Ints
    moment: Ints
    content: Ints
    campaign: Ints

    def take(self, chosen: Ints | Flags) -> Touches:
        """The chosen rows."""
        return Touches(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @classmethod
    def join(cls, parts: list[Touches]) -> Touches:
        """All rows of the parts."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


class Outreach:
    """Sends week by week and remembers who unsubscribed and what is answered later."""

    def __init__(
        self, window: Window, seed: int, people: People, brand: Brand, orders: Orders, sends_per_person: float
    ) -> None:
        self._window, self._seed = window, seed
        self._people, self._brand, self._orders = people, brand, orders
        self._news_share = sends_per_person / max(window.days / 7, 1)
        self.unsubscribed = np.full((len(TOUCH_CHANNELS), people.count), NEVER, dtype=np.int64)
        self._later: list[Touches] = []

    def period(self, number: int, first: int, last: int) -> Touches:
        """What happens to touches on the days first..last, sorted by time; answers that come later wait."""
        random = generator(self._seed, "touches", number)
        sends = [
            self._welcome(first, last),
            self._news(random, first, last),
            self._birthdays(random, first, last),
            self._winback(random, first, last),
        ]
        person, moment, node, channel = (
            np.concatenate([part[place] for part in sends]).astype(np.int64) for place in range(4)
        )
        order = np.lexsort((person, node, moment))
        person, moment, node, channel = person[order], moment[order], node[order], channel[order]
        reach = self._reachable(person, channel, moment)
        person, moment, node, channel = person[reach], moment[reach], node[reach], channel[reach]
        rows = self._answers(random, number, first, person, moment, node, channel)
        rows = Touches.join([*self._later, rows]) if self._later else rows
        final = (last + 1) * DAY
        self._later = [rows.take(rows.moment >= final)]
        rows = rows.take(rows.moment < final)
        return rows.take(np.lexsort((rows.status, rows.touch, rows.moment)))

    def _welcome(self, first: int, last: int) -> tuple[Ints, ...]:
        added = self._people.since[kinds.CONTACT]
        person = np.flatnonzero((added >= first * DAY) & (added < (last + 1) * DAY - 2))
        moment = np.minimum(added[person] + 60 + person % 2_400, (last + 1) * DAY - 1)
        return person, moment, np.full(len(person), 0), np.full(len(person), WECOM_TOUCH)

    def _news(self, random: np.random.Generator, first: int, last: int) -> tuple[Ints, ...]:
        day = next((d for d in range(first, last + 1) if self._window.date(d).weekday() == 3), last)
        share = self._news_share * (last - first + 1) / 7
        promotion = any(begin - 3 <= day <= end for begin, end, _ in self._window.festivals())
        chosen = np.flatnonzero(random.random(self._people.count) < share * (1.8 if promotion else 0.95))
        channel = random.choice(3, len(chosen), p=(0.62, 0.26, 0.12))
        node = np.where(channel == SMS, 4, 1) if promotion else np.full(len(chosen), 1)
        clock = np.clip(self._people.hour[chosen], 9, 20.5) + random.random(len(chosen)) * 0.4
        return chosen, day * DAY + (clock * HOUR).astype(np.int64), node, channel

    def _birthdays(self, random: np.random.Generator, first: int, last: int) -> tuple[Ints, ...]:
        today = {self._window.date(day).timetuple().tm_yday: day for day in range(first, last + 1)}
        day_of_year = birthday_of_year(self._people.birth_day)
        days = np.full(367, -1)
        for place, day in today.items():
            days[place] = day
        on = days[day_of_year]
        person = np.flatnonzero((on >= 0) & (self._people.since[kinds.MEMBER] < on * DAY))
        moment = on[person] * DAY + 9 * HOUR + random.integers(0, HOUR, len(person))
        channel = np.where(self._people.since[kinds.CONTACT, person] < moment, WECOM_TOUCH, SMS)
        return person, moment, np.full(len(person), 2), channel

    def _winback(self, random: np.random.Generator, first: int, last: int) -> tuple[Ints, ...]:
        gone = self._people.churned < (first - 30) * DAY
        person = np.flatnonzero(gone & (random.random(self._people.count) < 0.03))
        moment = last * DAY + 11 * HOUR + random.integers(0, 4 * HOUR, len(person))
        channel = np.where(random.random(len(person)) < 0.6, SMS, WECOM_TOUCH)
        return person, moment, np.full(len(person), 3), channel

    def _reachable(self, person: Ints, channel: Ints, moment: Ints) -> Flags:
        people = self._people
        reachable: Flags = np.zeros(len(person), dtype=np.bool_)
        for code, kind in enumerate(_CHANNEL_KIND):
            reachable |= (
                (channel == code)
                & (people.since[kind, person] <= moment)
                & (self.unsubscribed[code, person] > moment)
            )
        gone: Flags = (channel == WECOM_TOUCH) & (
            np.minimum(people.contact_deleted[person], people.contact_blocked[person]) < moment - 20 * DAY
        )
        reachable &= ~gone
        return reachable

    def _answers(
        self,
        random: np.random.Generator,
        number: int,
        first: int,
        person: Ints,
        moment: Ints,
        node: Ints,
        channel: Ints,
    ) -> Touches:
        people, count = self._people, len(person)
        touch = number * 100_000_000 + np.arange(count)
        style = people.style_at(person, moment)
        content = self._brand.content_slots[random.integers(0, 6, count), random.integers(0, 128, count)]
        matches = self._brand.content_style[content] == style
        campaign = np.where(node == 0, -1, len(self._brand.campaigns["kind"]) - 1)
        orders = self._orders.between(first, first + 9)
        soon = np.zeros(people.count, dtype=np.bool_)
        soon[self._orders.person[orders]] = True

        lost = np.minimum(people.contact_deleted[person], people.contact_blocked[person]) < moment
        delivers = random.random(count) < np.array([0.985, 0.95, 0.93])[channel]
        delivers &= ~((channel == WECOM_TOUCH) & lost)
        engaged = people.engagement[person] * np.where(people.churned[person] < moment + 2 * DAY, 0.0, 1.0)
        engaged = engaged * np.where(node == 0, 1.8, 1.0) * np.array([1.0, 0.25, 0.55])[channel]
        opens = delivers & (random.random(count) < np.minimum(engaged * 1.3, 0.95))
        click = np.where(matches, 0.38, 0.16) * np.where(soon[person], 2.0, 0.8)
        clicks = opens & (random.random(count) < np.minimum(click, 0.9))
        replies = opens & (channel == WECOM_TOUCH) & (random.random(count) < 0.06)
        leaves = delivers & (random.random(count) < np.where(opens, 0.006, 0.0015))

        delivered = moment + random.integers(1, 40, count)
        opened = delivered + 20 + random.exponential(2.5 * HOUR, count).astype(np.int64)
        clicked = opened + random.integers(3, 90, count)
        left = delivered + random.integers(600, 20 * HOUR, count)
        parts = []
        for status, when, mask in (
            (SENT, moment, np.ones(count, dtype=np.bool_)),
            (DELIVERED, delivered, delivers),
            (FAILED, delivered, ~delivers),
            (OPENED, opened, opens),
            (CLICKED, clicked, clicks),
            (REPLIED, clicked + 120, replies),
            (UNSUBSCRIBED, left, leaves),
        ):
            rows = np.flatnonzero(mask)
            parts.append(
                Touches(
                    touch[rows],
                    person[rows],
                    channel[rows],
                    node[rows],
                    np.full(len(rows), status),
                    when[rows],
                    content[rows].astype(np.int64),
                    campaign[rows],
                )
            )
        gone = np.flatnonzero(leaves)
        np.minimum.at(self.unsubscribed, (channel[gone], person[gone]), left[gone])
        return Touches.join(parts)


def birthday_of_year(birth_day: Ints) -> Ints:
    """Day of the year (1–366) of ordinal dates."""
    dates = (birth_day - 719_163).astype("datetime64[D]")
    since_new_year: Ints = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return since_new_year + 1
