"""Orders, order lines and refunds, planned for everybody at once. Money is in whole fen until it is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import CATEGORIES, SLOTS, Brand
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.window import (
    DAY,
    HOUR,
    NEVER,
    Flags,
    Ints,
    Window,
    generator,
)

ORDER_CHANNELS = ("mini_program", "store", "douyin", "tmall", "web")
MINI_PROGRAM, STORE, DOUYIN, TMALL, WEB = range(len(ORDER_CHANNELS))
PAID, CANCELLED, CLOSED = range(3)
NO_REFUND, FULL_REFUND, PART_REFUND, UNNAMED_REFUND = range(4)

EXPERIMENT = "welcome_offer"
EXPERIMENT_DAYS = 14
# True share of new users who order within 14 days, by arm: control, treatment.
EXPERIMENT_RATES = (0.12, 0.2)
PLACEBO = "cart_reminder"
_MOST_ORDERS = 80


@dataclass(frozen=True)
class Orders:
    """One element per order, sorted by time. `line_start[i]:line_start[i + 1]` are its lines."""

    person: Ints
    moment: Ints
    paid: Ints
    number: Ints
    channel: Ints
    status: Ints
    kind: Ints
    identity: Ints
    has_coupon: Flags
    coupon_cents: Ints
    amount: Ints
    discount: Ints
    shipping: Ints
    campaign: Ints
    refund: Ints
    refunded: Ints
    refund_cents: Ints
    rank: Ints
    line_start: Ints
    product: Ints
    quantity: Ints
    line_amount: Ints
    line_discount: Ints

    def between(self, first_day: int, last_day: int) -> slice:
        """The orders placed on those days, both included."""
        low = np.searchsorted(self.moment, first_day * DAY)
        return slice(int(low), int(np.searchsorted(self.moment, (last_day + 1) * DAY)))


@dataclass(frozen=True)
class Trial:
    """Who is in the experiment on new users, and whom the placebo chose. One element per participant."""

    person: Ints
    arm: Ints
    converts: Flags
    placebo_person: Ints
    placebo_arm: Ints
    placebo_moment: int


def hold_trial(window: Window, seed: int, people: People) -> Trial:
    """Assigns everybody who comes early enough to an arm, and decides who will order within 14 days by the true
    rates; the placebo is assigned at random in the middle of the window and changes nothing."""
    random = generator(seed, "trial")
    person = np.flatnonzero((people.joined >= 0) & (people.joined < window.seconds - EXPERIMENT_DAYS * DAY))
    arm = random.integers(0, 2, len(person))
    converts = random.random(len(person)) < np.array(EXPERIMENT_RATES)[arm]
    moment = window.days // 2 * DAY + 10 * HOUR
    present = np.flatnonzero((people.joined < moment) & (people.churned > moment))
    chosen = present[random.random(len(present)) < 0.3]
    return Trial(person, arm, converts, chosen, random.integers(0, 2, len(chosen)), moment)


def plan_orders(window: Window, seed: int, people: People, brand: Brand, trial: Trial) -> Orders:
    """All orders until the end of the window, those before its first day included."""
    random = generator(seed, "orders")
    person, moment, main = _moments(window, random, people, brand, trial)
    count = len(person)
    online = people.since[kinds.OPENID, person] <= moment
    channel = np.where(online, MINI_PROGRAM, STORE)
    draw = random.random(count)
    channel = np.where(draw < 0.2, STORE, np.where(draw < 0.28, DOUYIN, np.where(draw < 0.34, WEB, channel)))
    buys_elsewhere = people.since[kinds.BUYER, person] <= moment
    channel = np.where(buys_elsewhere & (random.random(count) < 0.5), TMALL, channel)
    # Whoever the experiment says converts, pays, is known, and keeps the goods.
    kept = np.isin(person, trial.person) & (moment < people.joined[person] + EXPERIMENT_DAYS * DAY)
    kind, identity = _buyers(random, people, person, moment, channel, kept)

    status = random.choice(3, count, p=(0.925, 0.055, 0.02))
    status = np.where(kept, PAID, status)
    # On the same day: the day's file must not know tomorrow.
    by_midnight = np.minimum(moment + random.integers(15, 600, count), (moment // DAY + 1) * DAY - 1)
    paid = np.where(status == PAID, by_midnight, NEVER)
    festival = np.zeros(count, dtype=np.float64)
    campaign = np.full(count, -1, dtype=np.int64)
    for number, kind_name in enumerate(brand.campaigns["kind"]):
        if kind_name == "promotion":
            inside = (moment >= brand.campaign_start[number] * DAY) & (
                moment < (brand.campaign_end[number] + 1) * DAY
            )
            festival[inside] = 0.15
            campaign[inside & (random.random(count) < 0.7)] = number

    lines = 1 + np.minimum(random.geometric(0.55, count) - 1, 5)
    start = np.concatenate([[0], np.cumsum(lines)])
    owner = np.repeat(np.arange(count), lines)
    product, quantity = _baskets(random, people, brand, person, moment, main, start, owner)
    gross = brand.price_cents[product] * quantity
    total = np.add.reduceat(gross, start[:-1]) if count else np.empty(0, dtype=np.int64)
    has_coupon = (random.random(count) < 0.24) & (status == PAID) & (total > 10_000)
    coupon = np.where(has_coupon, np.array([2_000, 3_000, 5_000])[random.integers(0, 3, count)], 0)
    bargain = random.choice([0.0, 0.0, 0.05, 0.1], count) + festival
    discount = (total * bargain).astype(np.int64) // 10 * 10 + coupon
    # Now and then a gift: everything is taken off.
    discount = np.where((random.random(count) < 0.001) & ~has_coupon & (status == PAID), total, discount)
    discount = np.minimum(discount, total)
    before = (
        np.cumsum(gross) - np.repeat(np.concatenate([[0], np.cumsum(total)[:-1]]), lines) if count else gross
    )
    share_after = before * discount[owner] // np.maximum(total[owner], 1)
    share_before = (before - gross) * discount[owner] // np.maximum(total[owner], 1)
    line_discount = share_after - share_before
    amount = total - discount
    refund, refunded, refund_cents = _refunds(random, window, paid, amount, start, gross - line_discount)
    refund = np.where(kept, NO_REFUND, refund)
    refunded = np.where(kept, NEVER, refunded)
    day = moment // DAY
    first_of_day = np.searchsorted(day, day)
    return Orders(
        person=person,
        moment=moment,
        paid=paid,
        number=np.arange(count) - first_of_day,
        channel=channel.astype(np.int8),
        status=status.astype(np.int8),
        kind=kind,
        identity=identity,
        has_coupon=has_coupon,
        coupon_cents=coupon,
        amount=amount,
        discount=discount,
        shipping=np.where((amount < 9_900) & (channel != STORE), 1_000, 0),
        campaign=campaign.astype(np.int16),
        refund=refund.astype(np.int8),
        refunded=refunded,
        refund_cents=refund_cents,
        rank=_rank(person, status == PAID),
        line_start=start,
        product=product,
        quantity=quantity,
        line_amount=gross - line_discount,
        line_discount=line_discount,
    )


def _moments(
    window: Window, random: np.random.Generator, people: People, brand: Brand, trial: Trial
) -> tuple[Ints, Ints, Ints]:
    """(person, moment, main product) of every order. After the first one, half never come back; the others
    return when what they use is used up, and now and then on impulse."""
    users = people.count
    keen = np.clip(0.5 * people.activity**0.35, 0.1, 0.95)
    buys = random.random(users) < keen * 0.85
    first = people.joined + (random.exponential(18, users) * DAY).astype(np.int64) + 1_800
    in_trial = np.zeros(users, dtype=np.bool_)
    in_trial[trial.person] = True
    converts = np.zeros(users, dtype=np.bool_)
    converts[trial.person] = trial.converts
    # Within the days of the trial, and before somebody turns away: nobody stays less than three days.
    stay = np.minimum(people.churned - people.joined - HOUR, (EXPERIMENT_DAYS - 0.5) * DAY)
    quick = people.joined + (random.random(users) ** 2 * stay).astype(np.int64) + 1_800
    late = (
        people.joined + (random.exponential(30, users) * DAY).astype(np.int64) + (EXPERIMENT_DAYS + 1) * DAY
    )
    late_buys = random.random(users) < 0.28
    first = np.where(in_trial, np.where(converts, quick, late), first)
    buys = np.where(in_trial, converts | late_buys, buys)
    last = np.minimum(people.churned, window.seconds)
    moment = np.where(buys, first, NEVER)
    repeats = random.random(users) < 0.62
    slot = random.integers(0, SLOTS, users)
    pace = random.lognormal(0, 0.3, users)

    persons, moments, mains = [], [], []
    for _ in range(_MOST_ORDERS):
        who = np.flatnonzero(moment < last)
        if not len(who):
            break
        when = moment[who]
        main = brand.refill_slots[people.style_at(who, when), people.category[who], slot[who]].astype(
            np.int64
        )
        persons.append(who)
        moments.append(when)
        mains.append(main)
        cycle = brand.consumption_days[main] * pace[who] * random.lognormal(0, 0.18, len(who))
        impulse = 2 + random.exponential(12, len(who))
        gap = np.where(random.random(len(who)) < 0.18, impulse, np.maximum(cycle, 3))
        moment[who] = np.where(repeats[who], when + (gap * DAY).astype(np.int64), NEVER)
    if not persons:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    person, main = np.concatenate(persons), np.concatenate(mains)
    moment = _at_usual_times(window, random, people, person, np.concatenate(moments), in_trial, last)
    order = np.lexsort((person, moment))
    return person[order], moment[order], main[order]


def _at_usual_times(
    window: Window,
    random: np.random.Generator,
    people: People,
    person: Ints,
    moment: Ints,
    in_trial: Flags,
    last: Ints,
) -> Ints:
    """Moves orders to the buyer's usual hour, and some that are near a festival into it."""
    day = moment // DAY
    for first, final, _ in window.festivals():
        near = (day >= first - 9) & (day < first) & (random.random(len(day)) < 0.4) & ~in_trial[person]
        day = np.where(near, first + random.integers(0, final - first + 1, len(day)), day)
    clock = np.clip(people.hour[person] + random.normal(0, 1.2, len(day)), 0.1, 23.8)
    usual = day * DAY + (clock * HOUR).astype(np.int64)
    fits = (usual > people.joined[person] + 900) & (usual < last[person])
    # Days of the trial are counted from the minute of joining: leave those orders where they are.
    return np.where(fits & ~in_trial[person], usual, moment)


def _buyers(
    random: np.random.Generator, people: People, person: Ints, moment: Ints, channel: Ints, known: Flags
) -> tuple[Ints, Ints]:
    """By which identifier each order knows its buyer; NOBODY for a guest, which those in `known` never are."""
    kind = np.full(len(person), kinds.NOBODY, dtype=np.int8)
    number = np.zeros(len(person), dtype=np.int64)
    for code, preferred in (
        (MINI_PROGRAM, (kinds.OPENID,)),
        (STORE, (kinds.MEMBER, kinds.PHONE)),
        (DOUYIN, (kinds.PHONE, kinds.MEMBER)),
        (TMALL, (kinds.BUYER,)),
        (WEB, (kinds.MEMBER, kinds.UNIONID)),
    ):
        here = np.flatnonzero(channel == code)
        kind[here], number[here] = people.identity(person[here], moment[here], preferred)
    # A family phone does not say who bought.
    shared = (kind == kinds.PHONE) & people.is_family_phone[person]
    replacement, replacement_number = people.identity(person, moment, (kinds.MEMBER,))
    kind = np.where(shared, replacement, kind).astype(np.int8)
    number = np.where(shared, replacement_number, number)
    guest = (channel == STORE) & (random.random(len(person)) < 0.12) & ~known
    return np.where(guest, kinds.NOBODY, kind).astype(np.int8), number


def _baskets(
    random: np.random.Generator,
    people: People,
    brand: Brand,
    person: Ints,
    moment: Ints,
    main: Ints,
    start: Ints,
    owner: Ints,
) -> tuple[Ints, Ints]:
    """(product, quantity) of every line; the first line is what the buyer came for."""
    count = len(owner)
    style: Ints = people.style_at(person, moment)[owner]
    style = np.where(random.random(count) < 0.25, random.integers(0, 6, count), style)
    own = random.random(count) < 0.6
    category = np.where(own, people.category[person][owner], random.integers(0, len(CATEGORIES), count))
    product = brand.slots[style, category, random.integers(0, SLOTS, count)].astype(np.int64)
    product[start[:-1]] = main
    quantity = np.minimum(random.geometric(0.8, count), 6)
    return product, quantity


def _refunds(
    random: np.random.Generator, window: Window, paid: Ints, amount: Ints, start: Ints, line_amount: Ints
) -> tuple[Ints, Ints, Ints]:
    """(what kind, when, how much). A part refund gives back the first line, or half of the only one."""
    count = len(paid)
    refund = random.choice(4, count, p=(0.927, 0.04, 0.03, 0.003))
    wait = (random.gamma(2, 2, count) * DAY).astype(np.int64) + 2 * HOUR
    refunded = paid + wait
    refund = np.where((paid < NEVER) & (amount > 100) & (refunded < window.seconds), refund, NO_REFUND)
    refunded = np.where(refund == NO_REFUND, NEVER, refunded)
    first = line_amount[start[:-1]]
    part: Ints = np.where(np.diff(start) > 1, first, first // 2)
    refund = np.where((refund == PART_REFUND) & ((part <= 0) | (part >= amount)), NO_REFUND, refund)
    refunded = np.where(refund == NO_REFUND, NEVER, refunded)
    cents = np.select(
        [refund == FULL_REFUND, refund == PART_REFUND, refund == UNNAMED_REFUND],
        [amount, part, amount * 2 // 5],
        0,
    )
    return refund, refunded, cents


def _rank(person: Ints, counts: Flags) -> Ints:
    """For every order (sorted by time) which paid order of its buyer it is, from 1; 0 if it is not paid."""
    order = np.argsort(person, kind="stable")
    sorted_person, paid = person[order], counts[order].astype(np.int64)
    running: Ints = np.cumsum(paid)
    first = np.searchsorted(sorted_person, sorted_person)
    base = np.where(first > 0, running[first - 1], 0)
    rank = np.empty(len(person), dtype=np.int64)
    rank[order] = np.where(paid == 1, running - base, 0)
    return rank


def experiment_truth(people: People, orders: Orders, trial: Trial) -> list[tuple[str, str, int, float, int]]:
    """(experiment, arm, users, true rate, users who paid within 14 days of the assignment). The placebo's true
    rate is that of both arms together: it does nothing."""
    paid = orders.status == PAID

    def hits(persons: Ints, moments: Ints) -> Flags:
        assigned = np.full(people.count, NEVER, dtype=np.int64)
        assigned[persons] = moments
        begin = assigned[orders.person]
        inside = paid & (orders.moment >= begin) & (orders.moment < begin + EXPERIMENT_DAYS * DAY)
        found = np.zeros(people.count, dtype=np.bool_)
        found[orders.person[inside]] = True
        return found[persons]

    rows = []
    new = hits(trial.person, people.joined[trial.person])
    for arm, name in enumerate(("control", "treatment")):
        inside = trial.arm == arm
        rows.append((EXPERIMENT, name, int(inside.sum()), EXPERIMENT_RATES[arm], int(new[inside].sum())))
    placebo = hits(trial.placebo_person, np.full(len(trial.placebo_person), trial.placebo_moment))
    rate = float(placebo.mean()) if len(placebo) else 0.0
    for arm, name in enumerate(("control", "treatment")):
        inside = trial.placebo_arm == arm
        rows.append((PLACEBO, name, int(inside.sum()), rate, int(placebo[inside].sum())))
    return rows
