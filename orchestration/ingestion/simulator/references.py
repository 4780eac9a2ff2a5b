"""Tables that hardly change: staff, groups, products, contents, campaigns, costs, targets and benchmarks."""

from __future__ import annotations

import calendar
import datetime as dt

import numpy as np

from orchestration.ingestion.simulator.brand import (
    CHANNEL_COST,
    CHANNELS,
    FAMILY_NAMES,
    GIVEN_NAMES,
    PERSONAS,
    Brand,
)
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.profiles import sql_list
from orchestration.ingestion.simulator.purchases import Orders
from orchestration.ingestion.simulator.window import DAY, NEVER, Floats, Ints, Window, generator

_TEAMS = ("east", "south", "north", "online")
_ROLES = ("advisor", "advisor", "advisor", "team_lead")
_GROUP_KINDS = ("welfare", "skin_class", "vip", "city")
_GROUP_KINDS_ZH = ("福利群", "护肤课堂", "会员群", "同城群")
_BENCHMARKS = (
    ("shop", (0.28, 0.35)),
    ("lead", (0.4, 0.35, 0.6, 0.5, 0.45, 0.4)),
    ("live", (0.55, 0.6, 0.08)),
    ("message", (0.95, 0.3, 0.15, 0.06)),
    ("referral", (0.5, 0.3)),
)


def write_references(landing: Landing, window: Window, brand: Brand) -> None:
    """Everything that is there from the first day on."""
    staff = np.arange(brand.staff_count)
    landing.write(
        "staff",
        0,
        {"staff": staff},
        f"""numbered('S', staff, 3) as staff_id,
        {sql_list(FAMILY_NAMES)}[staff % {len(FAMILY_NAMES)} + 1]
            || {sql_list(GIVEN_NAMES)}[staff % {len(GIVEN_NAMES)} + 1] as name,
        {sql_list(_TEAMS)}[staff % 4 + 1] as team, {sql_list(_ROLES)}[staff // 4 % 4 + 1] as role,
        {sql_list(PERSONAS)}[staff % {len(PERSONAS)} + 1] as persona""",
    )
    landing.write(
        "groups",
        0,
        {"number": np.arange(brand.group_count)},
        f"""numbered('G', number, 4) as group_id,
        {sql_list(_GROUP_KINDS_ZH)}[number % 4 + 1] || cast(number // 4 + 1 as varchar) as name,
        {sql_list(_GROUP_KINDS)}[number % 4 + 1] as kind,
        numbered('S', number % {brand.staff_count}, 3) as owner_staff_id""",
    )
    count = len(brand.price_cents)
    product = ", ".join(
        f"{sql_list(brand.products[name])}[number + 1] as {name}"
        for name in ("product_id", "name", "category_l1", "category_l2", "category_l3", "brand")
    )
    landing.write(
        "products",
        0,
        {"number": np.arange(count), "price": brand.price_cents, "days": brand.consumption_days},
        f"""{product}, money(price) as price, nullif(days, 0) as consumption_days,
        {sql_list(brand.products["style"])}[number + 1] as style""",
    )
    content = ", ".join(
        f"{sql_list(values)}[number + 1] as {name}" for name, values in brand.contents.items()
    )
    landing.write(
        "contents",
        0,
        {"number": np.arange(len(brand.content_style)), "published": brand.content_published},
        f"{content}, moment(published) as published_at",
    )
    campaign = ", ".join(
        f"{sql_list(brand.campaigns[name])}[number + 1] as {name}" for name in ("campaign_id", "name", "kind")
    )
    landing.write(
        "campaigns",
        0,
        {
            "number": np.arange(len(brand.campaign_start)),
            "starts": brand.campaign_start * DAY,
            "ends": (brand.campaign_end + 1) * DAY - 1,
            "cost": _fen(brand.campaigns["cost"]),
        },
        f"{campaign}, moment(starts) as starts_at, moment(ends) as ends_at, money(cost) as cost",
    )
    landing_code = ", ".join(
        f"{sql_list(brand.landing_codes[name])}[number + 1] as {name}"
        for name in ("state_code", "channel", "campaign_id")
    )
    landing.write(
        "landing_codes",
        0,
        {
            "number": np.arange(len(brand.landing_codes["state_code"])),
            "cost": _fen(brand.landing_codes["cost"]),
        },
        f"""{landing_code}, money(cost) as cost,
        {sql_list(brand.landing_codes["persona"])}[number + 1] as persona""",
    )
    funnel = [name for name, rates in _BENCHMARKS for _ in rates]
    landing.write(
        "benchmarks",
        0,
        {
            "number": np.arange(len(funnel)),
            "step": np.array([step + 2 for _, rates in _BENCHMARKS for step in range(len(rates))]),
            "rate": np.array([round(rate * 100) for _, rates in _BENCHMARKS for rate in rates]),
        },
        f"""{sql_list(list(funnel))}[number + 1] as funnel, step, money(rate) as rate,
        'industry survey (made up)' as source""",
    )


def write_targets(landing: Landing, window: Window, people: People, orders: Orders) -> None:
    """Goals per month, a little above what will come."""
    rows: list[tuple[str, dt.date, dt.date, int]] = []
    month = window.start.replace(day=1)
    while month <= window.end:
        final = month.replace(day=calendar.monthrange(month.year, month.month)[1])
        low, high = window.day(month) * DAY, (window.day(final) + 1) * DAY
        inside = (orders.moment >= low) & (orders.moment < high) & (orders.paid < NEVER)
        added = people.since[2]
        for metric, value in (
            ("gmv", int(orders.amount[inside].sum())),
            ("orders_paid", int(inside.sum()) * 100),
            ("new_contacts", int(((added >= low) & (added < high)).sum()) * 100),
            ("repurchase_rate", 35),
        ):
            rows.append(
                (metric, month, final, value if metric == "repurchase_rate" else value * 108 // 100 + 100)
            )
        month = final + dt.timedelta(days=1)
    landing.write(
        "targets",
        0,
        {
            "number": np.arange(len(rows)),
            "first": np.array([window.day(row[1]) * DAY for row in rows]),
            "last": np.array([window.day(row[2]) * DAY for row in rows]),
            "target": np.array([row[3] for row in rows]),
        },
        f"""{sql_list([row[0] for row in rows])}[number + 1] as metric, cast(moment(first) as date) as period_start,
        cast(moment(last) as date) as period_end, money(target) as target, 'brand' as owner""",
    )


def write_costs(
    landing: Landing, window: Window, seed: int, people: People, brand: Brand, first: int, last: int
) -> None:
    """What each paid channel cost on those days, with impressions and clicks."""
    random = generator(seed, "costs", first)
    days = np.arange(first, last + 1)
    paid = np.array([code for code, cost in enumerate(CHANNEL_COST) if cost > 0])
    day, channel = np.repeat(days, len(paid)), np.tile(paid, len(days))
    size = (last - first + 1) * len(CHANNELS)
    inside = (people.joined >= first * DAY) & (people.joined < (last + 1) * DAY)
    key = (people.joined[inside] // DAY - first) * len(CHANNELS) + people.channel[inside]
    joins = np.bincount(key, minlength=size)[(day - first) * len(CHANNELS) + channel]
    cost = (joins + 0.4) * np.array(CHANNEL_COST)[channel] * random.uniform(0.85, 1.15, len(day))
    clicks = (joins * random.uniform(6, 11, len(day)) + random.integers(3, 12, len(day))).astype(np.int64)
    campaign = np.full(len(day), -1)
    content = brand.campaigns["kind"].index("content")
    campaign[channel == CHANNELS.index("xiaohongshu")] = content
    landing.write(
        "channel_costs",
        last,
        {
            "day": day,
            "channel": channel,
            "fen": (cost * 100).astype(np.int64),
            "campaign": campaign,
            "impressions": (clicks * random.uniform(18, 30, len(day))).astype(np.int64),
            "clicks": clicks,
        },
        f"""cast(moment(day * 86400) as date) as cost_date, pick({sql_list(CHANNELS)}, channel) as channel,
        money(fen) as amount, numbered('CP', campaign, 3) as campaign_id, impressions, clicks""",
    )


def _fen(values: list[object]) -> Ints:
    yuan: Floats = np.array([float(str(value)) for value in values])
    return np.round(yuan * 100).astype(np.int64)
