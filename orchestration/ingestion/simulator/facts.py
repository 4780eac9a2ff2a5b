"""Writes orders, order lines, refunds, touches and events."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.behaviour import (
    CODE,
    EVENTS,
    MINI,
    PLACES,
    TRAFFIC,
    WEB_NAMES,
    WEBSITE,
    Events,
    identities,
)
from orchestration.ingestion.simulator.brand import Brand
from orchestration.ingestion.simulator.dealings import ORDER_ID
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.outreach import CLICKED, NODES, STATUSES, TOUCH_CHANNELS, Touches
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.profiles import sql_list
from orchestration.ingestion.simulator.purchases import (
    FULL_REFUND,
    NO_REFUND,
    ORDER_CHANNELS,
    PAID,
    PART_REFUND,
    STORE,
    UNNAMED_REFUND,
    Orders,
)
from orchestration.ingestion.simulator.window import DAY, NEVER, Ints, Window, generator

LATE_SHARE = 0.005
MOST_DAYS_LATE = 10
REPEATED_SHARE = 0.003
_SEARCHES = ("防晒", "精华", "面膜", "口红", "粉底液", "卸妆", "眼霜", "补水", "敏感肌", "礼盒")


def write_orders(landing: Landing, people: People, orders: Orders, coupon_of_order: Ints, day: int) -> None:
    """The day's orders with their lines, and earlier orders whose state changed on the day. Day 0 brings all
    orders before it as well."""
    first = orders.between(-100_000, 0) if day == 0 else orders.between(day, day)
    new = np.arange(first.start, first.stop)
    full = orders.refund == FULL_REFUND
    back = np.flatnonzero(full & (orders.refunded // DAY == day) & (orders.moment // DAY < day))
    if day == 0:
        back = back[:0]
    rows = np.concatenate([back, new])
    is_refunded = full[rows] & (orders.refunded[rows] < (day + 1) * DAY)
    channel = orders.channel[rows]
    landing.write(
        "orders",
        day,
        {
            "order_day": orders.moment[rows] // DAY,
            "order_number": orders.number[rows],
            "ordered": orders.moment[rows],
            "fen": orders.amount[rows],
            "kind": orders.kind[rows],
            "number": orders.identity[rows],
            "paid": orders.paid[rows],
            "state": np.where(is_refunded, 3, orders.status[rows]),
            "channel": channel,
            "shop": np.where(channel == STORE, people.place[orders.person[rows]], -1),
            "device": np.where(
                (people.since[kinds.DEVICE, orders.person[rows]] <= orders.moment[rows])
                & (channel == ORDER_CHANNELS.index("web")),
                people.number[kinds.DEVICE, orders.person[rows]],
                -1,
            ),
            "discount": orders.discount[rows],
            "shipping": orders.shipping[rows],
            "coupon": coupon_of_order[rows],
            "campaign": orders.campaign[rows],
        },
        f"""{ORDER_ID} as order_id, moment(ordered) as ordered_at, money(fen) as amount,
        kind_name(kind) as id_type, case when kind >= 0 then identifier(kind, number) end as id,
        moment(paid) as paid_at,
        case when state = {PAID} and order_number % 41 = 7 then null
            else pick(['paid', 'cancelled', 'closed', 'refunded'], state) end as status,
        pick({sql_list(ORDER_CHANNELS)}, channel) as channel, numbered('ST', shop, 3) as store_id,
        case when device >= 0 then identifier({kinds.DEVICE}, device) end as device_id, 'CN' as country,
        money(discount) as discount_amount, money(shipping) as shipping_amount,
        numbered('C', coupon, 8) as coupon_id, numbered('CP', campaign, 3) as campaign_id""",
    )
    counts = orders.line_start[new + 1] - orders.line_start[new]
    owner = np.repeat(new, counts)
    line = np.arange(orders.line_start[first.start], orders.line_start[first.stop])
    landing.write(
        "order_lines",
        day,
        {
            "order_day": orders.moment[owner] // DAY,
            "order_number": orders.number[owner],
            "line": line - orders.line_start[owner] + 1,
            "product": orders.product[line],
            "quantity": orders.quantity[line],
            "fen": orders.line_amount[line],
            "discount": orders.line_discount[line],
        },
        f"""{ORDER_ID} as order_id, line as line_number, numbered('P', product, 4) as product_id, quantity,
        money(fen) as amount, money(discount) as discount_amount""",
    )


def write_refunds(landing: Landing, orders: Orders, first: int, last: int) -> None:
    """Refunds of those days; day 0 brings earlier ones too."""
    begins = -NEVER if first == 0 else first * DAY
    inside = (orders.refund != NO_REFUND) & (orders.refunded >= begins) & (orders.refunded < (last + 1) * DAY)
    rows = np.flatnonzero(inside)
    rows = rows[np.argsort(orders.refunded[rows], kind="stable")]
    unnamed = orders.refund[rows] == UNNAMED_REFUND
    # Who cannot be named either would be a refund to nobody: name the order then.
    unnamed &= orders.kind[rows] != kinds.NOBODY
    part = orders.refund[rows] == PART_REFUND
    line = orders.line_start[rows]
    landing.write(
        "refunds",
        last,
        {
            "refund": rows,
            "refunded": orders.refunded[rows],
            "fen": orders.refund_cents[rows],
            "order_day": orders.moment[rows] // DAY,
            "order_number": np.where(unnamed, -1, orders.number[rows]),
            "kind": np.where(unnamed, orders.kind[rows], kinds.NOBODY),
            "number": orders.identity[rows],
            "product": np.where(part, orders.product[line], -1),
            "quantity": np.where(part, orders.quantity[line], -1),
        },
        f"""numbered('R', refund, 8) as refund_id, moment(refunded) as refunded_at, money(fen) as amount,
        {ORDER_ID} as order_id, kind_name(kind) as id_type,
        case when kind >= 0 then identifier(kind, number) end as id,
        numbered('P', product, 4) as product_id, case when quantity >= 0 then quantity end as quantity""",
    )


def write_touches(landing: Landing, people: People, touches: Touches, last: int) -> None:
    """Touches of one period."""
    kind = np.array([kinds.CONTACT, kinds.PHONE, kinds.EMAIL])[touches.channel]
    landing.write(
        "touches",
        last,
        {
            "touch": touches.touch,
            "kind": kind,
            "number": people.number[kind, touches.person],
            "channel": touches.channel,
            "state": touches.status,
            "moment": touches.moment,
            "campaign": touches.campaign,
            "node": touches.node,
            "content": touches.content,
            "staff": np.where(touches.channel == 0, people.staff[touches.person], -1),
        },
        f"""'T' || cast(touch as varchar) as touch_id, kind_name(kind) as id_type, identifier(kind, number) as id,
        pick({sql_list(TOUCH_CHANNELS)}, channel) as channel, pick({sql_list(STATUSES)}, state) as status,
        moment(moment) as occurred_at, numbered('CP', campaign, 3) as campaign_id,
        pick({sql_list(NODES)}, node) as journey_node, numbered('CT', content, 4) as content_id,
        numbered('S', staff, 3) as staff_id""",
    )


def clicks_as_events(seed: int, number: int, people: People, touches: Touches, brand: Brand) -> Events:
    """What who clicks on a touch looks at."""
    random = generator(seed, "clicks", number)
    rows = np.flatnonzero(touches.status == CLICKED)
    person, moment = touches.person[rows], touches.moment[rows] + 3
    style = people.style_at(person, moment)
    product = brand.slots[style, people.category[person], random.integers(0, brand.slots.shape[2], len(rows))]
    first = Events.of(
        person,
        moment,
        CODE["page_view"],
        MINI,
        campaign=touches.campaign[rows],
        session=(1 << 45) + touches.touch[rows],
    )
    second = Events.of(
        person,
        moment + 20,
        CODE["product_view"],
        MINI,
        product=product,
        campaign=touches.campaign[rows],
        session=(1 << 45) + touches.touch[rows],
    )
    return Events.join([first, second])


class EventFiles:
    """Writes one file of events a day, with late and repeated rows. `late` and `repeated` count them."""

    def __init__(self, window: Window, seed: int, people: People, landing: Landing) -> None:
        self._window, self._seed, self._people, self._landing = window, seed, people, landing
        self._waiting: dict[int, list[dict[str, Ints]]] = defaultdict(list)
        self.late = 0
        self.repeated = 0
        self.anonymous = 0

    def write(self, day: int, events: Events) -> None:
        """The events of a day (in any order): most arrive on it."""
        random = generator(self._seed, "arrivals", day)
        order = np.lexsort((events.session, events.moment))
        events = events.take(order)
        kind, number = identities(self._seed, day, self._people, events)
        count = len(events)
        columns: dict[str, Ints] = {
            "kind": kind,
            "number": number,
            # Ad platforms give their impressions no id.
            "event": np.where(events.code == CODE["ad_impression"], -1, day * 100_000_000 + np.arange(count)),
            "code": np.where(events.place == WEBSITE, events.code + len(EVENTS), events.code),
            "moment": events.moment,
            "place": events.place,
            "traffic": events.traffic,
            "product": events.product,
            "content": events.content,
            "campaign": events.campaign,
            "session": events.session,
            "detail": random.integers(0, 1_000, count),
        }
        has_id = columns["event"] >= 0
        delay = random.integers(1, MOST_DAYS_LATE + 1, count)
        late = has_id & (random.random(count) < LATE_SHARE) & (day + delay < self._window.days)
        repeated = has_id & ~late & (random.random(count) < REPEATED_SHARE)
        # A repeated row comes again in the same file or in the next one.
        again = day + np.where(random.random(count) < 0.5, 0, 1)
        again = np.minimum(again, self._window.days - 1)
        self.late += int(late.sum())
        self.repeated += int(repeated.sum())
        self.anonymous += int((kind == kinds.ANONYMOUS).sum())
        for when in np.unique(delay[late]):
            self._wait(day + int(when), columns, late & (delay == when))
        self._wait(day + 1, columns, repeated & (again > day))
        today = [
            {name: values[~late] for name, values in columns.items()},
            {name: values[repeated & (again == day)] for name, values in columns.items()},
            *self._waiting.pop(day, []),
        ]
        rows = {name: np.concatenate([part[name] for part in today]) for name in columns}
        self._landing.write("events", day, rows, self._select())

    def _wait(
        self, day: int, columns: dict[str, Ints], chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> None:
        if chosen.any():
            self._waiting[day].append({name: values[chosen] for name, values in columns.items()})

    def _select(self) -> str:
        names = (*EVENTS, *(WEB_NAMES.get(name, name) for name in EVENTS))
        is_parquet = self._landing.parquet_events
        occurred = "moment(moment)" if is_parquet else "strftime(moment(moment), '%Y-%m-%dT%H:%M:%S+08:00')"
        search = f"pick({sql_list(_SEARCHES)}, detail % {len(_SEARCHES)})"
        properties = f"""case when code % {len(EVENTS)} = {CODE["search"]} then json_object('query', {search})
            when code % {len(EVENTS)} in ({CODE["article_read"]}, {CODE["live_stay"]})
            then json_object('stay_seconds', detail) end"""
        if is_parquet:
            properties = f"cast({properties} as varchar)"
        return f"""kind_name(kind) as id_type, identifier(kind, number) as id,
            pick({sql_list(names)}, code) as event_name, {occurred} as occurred_at,
            case when event >= 0 then format('e{{:x}}', event) end as event_id,
            pick({sql_list(TRAFFIC)}, traffic) as channel, pick({sql_list(PLACES)}, place) as touchpoint,
            numbered('P', product, 4) as product_id, numbered('CT', content, 4) as content_id,
            numbered('CP', campaign, 3) as campaign_id, format('s{{:x}}', session) as session_id,
            {properties} as properties"""
