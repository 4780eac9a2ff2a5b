"""Events: sessions that wander from page to page, and what is planned (purchases, first visits, forms, live rooms)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import CATEGORIES, CHANNELS, LIVE_FORMAT, SLOTS, STYLES, Brand
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.purchases import MINI_PROGRAM, PAID, WEB, Orders
from orchestration.ingestion.simulator.window import DAY, HOUR, Flags, Floats, Ints, Window, generator

# What the sources call the events: mini-program and the rest; the web shop has names of its own for some.
EVENTS = (
    "page_view",
    "product_view",
    "search",
    "add_to_cart",
    "favorite",
    "share",
    "article_read",
    "vote",
    "comment",
    "like",
    "subscribe",
    "menu_click",
    "keyword_reply",
    "form_view",
    "form_submit",
    "live_reserve",
    "live_enter",
    "live_stay",
    "ad_impression",
    "ad_click",
    "course_complete",
    "checkout",
    "pay_success",
)
WEB_NAMES = {
    "product_view": "view_item",
    "add_to_cart": "addtocart",
    "search": "site_search",
    "favorite": "wishlist",
}
CODE = {name: code for code, name in enumerate(EVENTS)}
PLACES = ("mini_program", "official_account", "web", "video_channel", "wecom")
MINI, ACCOUNT, WEBSITE, VIDEO, WECOM = range(len(PLACES))
TRAFFIC = (*CHANNELS, "organic")
ORGANIC = len(CHANNELS)
_PLACE_SHARES = (0.62, 0.14, 0.08, 0.07, 0.09)
_PLACE_KINDS = (
    (kinds.OPENID,),
    (kinds.UNIONID, kinds.OPENID),
    (kinds.DEVICE,),
    (kinds.UNIONID,),
    (kinds.CONTACT,),
)
_STARTS: tuple[dict[str, float], ...] = (
    {"page_view": 0.5, "search": 0.2, "product_view": 0.3},
    {"article_read": 0.55, "menu_click": 0.25, "keyword_reply": 0.2},
    {"page_view": 0.45, "search": 0.25, "product_view": 0.2, "ad_impression": 0.1},
    {"live_enter": 0.6, "like": 0.4},
    {"article_read": 0.5, "product_view": 0.4, "like": 0.1},
)
# What follows what; the rest of each row ends the session.
_NEXT: dict[str, dict[str, float]] = {
    "page_view": {"product_view": 0.42, "search": 0.2, "page_view": 0.15},
    "product_view": {
        "product_view": 0.38, "add_to_cart": 0.12, "favorite": 0.06, "search": 0.08, "share": 0.02,
        "page_view": 0.06, "like": 0.01,
    },
    "search": {"product_view": 0.62, "search": 0.12, "page_view": 0.06},
    "add_to_cart": {"product_view": 0.3, "add_to_cart": 0.06, "checkout": 0.08, "search": 0.05},
    "favorite": {"product_view": 0.5, "add_to_cart": 0.14, "share": 0.05},
    "share": {"product_view": 0.4},
    "article_read": {
        "article_read": 0.28, "like": 0.12, "comment": 0.05, "share": 0.05, "vote": 0.05, "menu_click": 0.08,
        "product_view": 0.08, "form_view": 0.02, "course_complete": 0.02,
    },
    "vote": {"article_read": 0.4},
    "comment": {"article_read": 0.4},
    "like": {"article_read": 0.35, "product_view": 0.1, "comment": 0.05},
    "subscribe": {"menu_click": 0.25, "keyword_reply": 0.15, "article_read": 0.25},
    "menu_click": {"article_read": 0.25, "product_view": 0.25, "form_view": 0.1, "keyword_reply": 0.05},
    "keyword_reply": {"article_read": 0.3, "form_view": 0.1, "menu_click": 0.1},
    "live_enter": {"live_stay": 0.7},
    "live_stay": {"like": 0.1, "comment": 0.15, "product_view": 0.35, "live_reserve": 0.08},
    "live_reserve": {"product_view": 0.2},
    "ad_impression": {"ad_click": 0.12},
    "ad_click": {"page_view": 0.35, "product_view": 0.3},
    "course_complete": {"form_view": 0.1},
    "checkout": {"product_view": 0.15},
}  # fmt: skip


def _codes(*names: str) -> Flags:
    """Which event codes are among the names."""
    return np.array([name in names for name in EVENTS])


_HAS_PRODUCT = _codes("product_view", "add_to_cart", "favorite", "checkout", "pay_success")
_HAS_CONTENT = _codes("article_read", "vote", "course_complete")
# About what was read last, or else about the product looked at last.
_HAS_EITHER = _codes("share", "like", "comment")
_IS_LIVE = _codes("live_reserve", "live_enter", "live_stay")
_LONGEST_SESSION = 30


@dataclass(frozen=True)
class Events:
    """One element per event; product, content and campaign are -1 where there is none."""

    person: Ints
    moment: Ints
    code: Ints
    place: Ints
    traffic: Ints
    product: Ints
    content: Ints
    campaign: Ints
    session: Ints

    def __len__(self) -> int:
        return len(self.person)

    def take(self, chosen: Ints | slice) -> Events:
        """The chosen events."""
        return Events(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @classmethod
    def join(cls, parts: list[Events]) -> Events:
        """All events of the parts."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @classmethod
    def of(
        cls,
        person: Ints,
        moment: Ints,
        code: int | Ints,
        place: int | Ints,
        *,
        traffic: int | Ints = ORGANIC,
        product: int | Ints = -1,
        content: int | Ints = -1,
        campaign: int | Ints = -1,
        session: Ints,
    ) -> Events:
        """Events from arrays and constants."""

        def full(value: int | Ints, kind: type[np.signedinteger]) -> Ints:
            return np.broadcast_to(np.asarray(value, dtype=kind), len(person)).copy()

        return cls(
            person.astype(np.int32),
            moment.astype(np.int64),
            full(code, np.int8),
            full(place, np.int8),
            full(traffic, np.int8),
            full(product, np.int16),
            full(content, np.int16),
            full(campaign, np.int16),
            session.astype(np.int64),
        )


def plan_events(
    window: Window, seed: int, people: People, brand: Brand, orders: Orders, more: Events
) -> Events:
    """Events that do not come from wandering, sorted by time: the way to each online order, first visits, live
    rooms with reservations, and `more`."""
    parts = [
        *_ways_to_orders(window, seed, people, orders),
        *_first_visits(window, seed, people),
        *_live_rooms(window, seed, people, brand),
        more,
    ]
    events = Events.join(parts)
    inside = (events.moment >= 0) & (events.moment < window.seconds)
    inside &= events.moment >= people.joined[events.person]
    events = events.take(np.flatnonzero(inside))
    return events.take(np.argsort(events.moment, kind="stable"))


def _ways_to_orders(window: Window, seed: int, people: People, orders: Orders) -> Iterator[Events]:
    random = generator(seed, "ways")
    online = (orders.channel == MINI_PROGRAM) | (orders.channel == WEB)
    chosen = np.flatnonzero(online & (orders.moment >= 0))
    person, moment = orders.person[chosen], orders.moment[chosen]
    product = orders.product[orders.line_start[chosen]]
    place = np.where(orders.channel[chosen] == WEB, WEBSITE, MINI)
    traffic = np.where(random.random(len(chosen)) < 0.4, people.channel[person], ORGANIC)
    session = (1 << 41) + chosen
    campaign = orders.campaign[chosen]
    search = moment - random.integers(400, 900, len(chosen))
    view = moment - random.integers(200, 390, len(chosen))
    cart = view + random.integers(20, 120, len(chosen))
    checkout = moment - random.integers(10, 70, len(chosen))
    days_before = view - random.integers(1, 6, len(chosen)) * DAY
    for name, when, mask, own in (
        ("search", search, random.random(len(chosen)) < 0.35, session),
        ("product_view", days_before, random.random(len(chosen)) < 0.5, session + (1 << 40)),
        ("product_view", view, np.ones(len(chosen), dtype=np.bool_), session),
        ("add_to_cart", cart, random.random(len(chosen)) < 0.92, session),
        ("checkout", checkout, np.ones(len(chosen), dtype=np.bool_), session),
        ("pay_success", orders.paid[chosen], orders.status[chosen] == PAID, session),
    ):
        rows = np.flatnonzero(mask)
        yield Events.of(
            person[rows],
            when[rows],
            CODE[name],
            place[rows],
            traffic=traffic[rows],
            product=-1 if name == "search" else product[rows],
            campaign=campaign[rows],
            session=own[rows],
        )


def _first_visits(window: Window, seed: int, people: People) -> Iterator[Events]:
    random = generator(seed, "first visits")
    person = np.flatnonzero((people.joined >= 0) & (people.joined < window.seconds))
    joined, channel = people.joined[person], people.channel[person]
    session = (1 << 42) + person
    paid_media = channel < 3
    shown = random.random(len(person))
    for name, wait, mask, place in (
        ("ad_impression", 0, paid_media & (shown < 0.8), MINI),
        ("ad_click", 15, paid_media & (shown < 0.7), MINI),
        ("page_view", 60, people.primary[person] == kinds.OPENID, MINI),
        ("product_view", 95, (people.primary[person] == kinds.OPENID) & (shown < 0.6), MINI),
        ("subscribe", 130, random.random(len(person)) < 0.35, ACCOUNT),
        ("menu_click", 190, random.random(len(person)) < 0.12, ACCOUNT),
    ):
        rows = np.flatnonzero(mask)
        product: int | Ints = -1
        if name == "product_view":
            product = random.integers(0, 100, len(rows))
        yield Events.of(
            person[rows],
            joined[rows] + wait,
            CODE[name],
            place,
            traffic=channel[rows],
            product=product,
            session=session[rows],
        )


def _live_rooms(window: Window, seed: int, people: People, brand: Brand) -> Iterator[Events]:
    """Wednesday and Saturday at 20:00: reserve, enter, stay."""
    contents = np.flatnonzero(brand.content_format == LIVE_FORMAT)
    for day in range(window.days):
        if window.date(day).weekday() not in (2, 5):
            continue
        random = generator(seed, "live", day)
        begins = day * DAY + 20 * HOUR
        present = np.flatnonzero((people.joined < begins - DAY) & (people.churned > begins))
        likely = people.engagement[present] ** 2
        person = present[random.random(len(present)) < np.minimum(likely * 0.12, 1)]
        content = int(contents[day % len(contents)])
        reserve = begins - random.integers(2 * HOUR, 3 * DAY, len(person))
        enter = begins + random.integers(-300, 1_800, len(person))
        reserves = random.random(len(person)) < 0.6
        enters = ~reserves | (random.random(len(person)) < 0.62)
        stays = enters & (random.random(len(person)) < 0.7)
        session = (1 << 43) + day * (1 << 24) + np.arange(len(person))
        for name, when, mask in (
            ("live_reserve", np.maximum(reserve, people.joined[person] + 600), reserves),
            ("live_enter", enter, enters),
            ("live_stay", enter + random.integers(300, 3_000, len(person)), stays),
        ):
            rows = np.flatnonzero(mask)
            yield Events.of(
                person[rows], when[rows], CODE[name], VIDEO, content=content, session=session[rows]
            )


@dataclass(frozen=True)
class Wandering:
    """Sessions of every day, as many as give the wanted number of events over the window."""

    sessions_per_weight: float
    season: Floats
    starts: Floats
    steps: Floats

    @classmethod
    def prepare(cls, window: Window, people: People, planned: int, wanted: float) -> Wandering:
        """Sessions so that `wanted` events come out in all, `planned` of them being there already."""
        names = list(EVENTS)
        table = np.zeros((len(names), len(names)))
        for name, follow in _NEXT.items():
            for successor, chance in follow.items():
                table[CODE[name], CODE[successor]] = chance
        starts = np.zeros((len(PLACES), len(names)))
        for place, first in enumerate(_STARTS):
            for name, chance in first.items():
                starts[place, CODE[name]] = chance
        lengths = np.linalg.solve(np.eye(len(names)) - table, np.ones(len(names)))
        length = float(np.array(_PLACE_SHARES) @ starts @ lengths)
        # Weight present on each day, from the days on which people come and go.
        change = np.zeros(window.days + 1)
        begin = np.clip(people.joined // DAY + 1, 0, window.days)
        end = np.clip(people.churned // DAY, begin, window.days)
        np.add.at(change, begin, people.activity)
        np.add.at(change, end, -people.activity)
        season = window.season()
        present = float(np.cumsum(change)[:-1] @ season)
        sessions = max(wanted - planned, 0.1 * wanted) / length
        return cls(sessions / max(present, 1e-9), season, np.cumsum(starts, axis=1), np.cumsum(table, axis=1))

    def day(self, window: Window, seed: int, day: int, people: People, brand: Brand) -> Events:
        """The wandering events of one day, in no order."""
        random = generator(seed, "sessions", day)
        present = (people.joined // DAY < day) & (people.churned // DAY > day)
        weight = np.cumsum(np.where(present, people.activity, 0.0))
        count = round(self.sessions_per_weight * self.season[day] * float(weight[-1]))
        person = np.searchsorted(weight, random.random(count) * weight[-1]).astype(np.int64)
        person = np.minimum(person, people.count - 1)
        place = random.choice(len(PLACES), count, p=_PLACE_SHARES)
        clock = (people.hour[person] + random.normal(0, 1.6, count)) % 24 * HOUR
        moment = day * DAY + clock.astype(np.int64)
        style = people.style_at(person, moment)
        traffic = np.where(random.random(count) < 0.35, people.channel[person], ORGANIC)
        campaign = self._campaign(random, brand, day, count)
        session = (day << 26) + np.arange(count)
        code = self._draw(random, self.starts, place)
        product = np.full(count, -1, dtype=np.int64)
        content = np.full(count, -1, dtype=np.int64)
        live = np.flatnonzero(brand.content_format == LIVE_FORMAT)
        room = int(live[day % len(live)])
        final = (day + 1) * DAY - 1
        alive = np.arange(count)
        parts = []
        for _ in range(_LONGEST_SESSION):
            if not len(alive):
                break
            views = np.flatnonzero(code == CODE["product_view"])
            looks = alive[views]
            product[looks] = self._product(random, people, brand, person[looks], style[looks])
            reads = np.flatnonzero(code == CODE["article_read"])
            opened = alive[reads]
            own = random.random(len(opened)) < 0.65
            liked = np.where(own, style[opened], random.integers(0, len(STYLES), len(opened)))
            content[opened] = brand.content_slots[liked, random.integers(0, SLOTS, len(opened))]
            parts.append(
                Events.of(
                    person[alive],
                    np.minimum(moment[alive], final),
                    code,
                    place[alive],
                    traffic=traffic[alive],
                    product=np.where(
                        _HAS_PRODUCT[code] | (_HAS_EITHER[code] & (content[alive] < 0)), product[alive], -1
                    ),
                    content=np.where(
                        _HAS_CONTENT[code] | _HAS_EITHER[code],
                        content[alive],
                        np.where(_IS_LIVE[code], room, -1),
                    ),
                    campaign=campaign[alive],
                    session=session[alive],
                )
            )
            follow = self._draw(random, self.steps, code)
            goes_on = follow < len(EVENTS)
            alive, code = alive[goes_on], follow[goes_on]
            moment[alive] += 4 + random.exponential(38, len(alive)).astype(np.int64)
        if not parts:
            empty = np.empty(0, dtype=np.int64)
            return Events.of(empty, empty, 0, 0, session=empty)
        return Events.join(parts)

    @staticmethod
    def _draw(random: np.random.Generator, cumulative: Floats, row: Ints) -> Ints:
        """A column per row by cumulative chances; the number of columns where none was drawn."""
        rows, columns = cumulative.shape
        ladder = (cumulative + np.arange(rows)[:, None]).ravel()
        spot = np.searchsorted(ladder, row + random.random(len(row)), side="right")
        column: Ints = spot - row * columns
        return np.minimum(column, columns)

    @staticmethod
    def _product(
        random: np.random.Generator, people: People, brand: Brand, person: Ints, style: Ints
    ) -> Ints:
        count = len(person)
        liked = np.where(random.random(count) < 0.7, style, random.integers(0, len(STYLES), count))
        own = random.random(count) < 0.6
        category = np.where(own, people.category[person], random.integers(0, len(CATEGORIES), count))
        return brand.slots[liked, category, random.integers(0, SLOTS, count)]

    @staticmethod
    def _campaign(random: np.random.Generator, brand: Brand, day: int, count: int) -> Ints:
        campaign = np.full(count, -1, dtype=np.int64)
        for number, kind in enumerate(brand.campaigns["kind"]):
            if kind == "promotion" and brand.campaign_start[number] <= day <= brand.campaign_end[number]:
                campaign[random.random(count) < 0.4] = number
        return campaign


def identities(seed: int, day: int, people: People, events: Events) -> tuple[Ints, Ints]:
    """(kind, number) by which each event knows its person. A few say `anonymous`."""
    random = generator(seed, "event identities", day)
    kind = np.empty(len(events), dtype=np.int8)
    number = np.empty(len(events), dtype=np.int64)
    for place, preferred in enumerate(_PLACE_KINDS):
        rows = np.flatnonzero(events.place == place)
        kind[rows], number[rows] = people.identity(events.person[rows], events.moment[rows], preferred)
    nobody = (events.place == MINI) & (random.random(len(events)) < 0.002)
    nobody &= (events.session < (1 << 40)) & (events.code != CODE["add_to_cart"])
    return np.where(nobody, kinds.ANONYMOUS, kind).astype(np.int8), number
