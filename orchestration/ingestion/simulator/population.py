"""Who the simulated people are: when they come and go, what they like, and by which identifiers they are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import (
    CATEGORIES,
    CATEGORY_SHARES,
    CHANNEL_SHARES,
    CHANNELS,
    INDUSTRIES,
    PLACES,
    REFERRAL,
    STYLES,
    Brand,
)
from orchestration.ingestion.simulator.window import (
    DAY,
    HOUR,
    NEVER,
    Flags,
    Floats,
    Ints,
    Window,
    generator,
)

FAMILY_PHONE_SHARE = 0.03
MISTYPED_PHONE_SHARE = 0.02
# Of the mistyped numbers, how many are a stranger's number; the others are nobody's.
MISTYPED_INTO_STRANGER_SHARE = 0.25
_STYLE_SWITCH_SHARE = 0.06
_MEAN_LIFE_DAYS = 230


@dataclass(frozen=True)
class People:
    """One element per person in every array, sorted by the moment they come. Codes index the brand's lists."""

    count: int
    joined: Ints
    churned: Ints
    activity: Floats
    hour: Floats
    engagement: Floats
    style: Ints
    style_after: Ints
    style_switched: Ints
    category: Ints
    gender: Ints
    birth_day: Ints
    place: Ints
    city: Ints
    industry: Ints
    channel: Ints
    landing_code: Ints
    staff: Ints
    inviter: Ints
    # since[kind, person]: from when a kind of identifier is seen; NEVER for one the person does not have
    since: Ints
    # number[kind, person]: see identifiers.py
    number: Ints
    typed_phone: Ints
    is_family_phone: Flags
    is_phone_of_stranger: Flags
    primary: Ints
    contact_has_unionid: Flags
    member_has_unionid: Flags
    contact_deleted: Ints
    contact_blocked: Ints
    is_deleted_by_staff: Flags

    def style_at(self, person: Ints, moment: Ints) -> Ints:
        """The style each person likes at each moment."""
        return np.where(moment >= self.style_switched[person], self.style_after[person], self.style[person])

    def identity(self, person: Ints, moment: Ints, preferred: tuple[int, ...]) -> tuple[Ints, Ints]:
        """(kind, number) by which each person is seen at each moment: the first of `preferred` that the person
        has by then, else the one the person came with."""
        kind = self.primary[person].astype(np.int8)
        for choice in reversed(preferred):
            kind = np.where(self.since[choice, person] <= moment, choice, kind).astype(np.int8)
        return kind, self.number[kind, person]


def populate(window: Window, seed: int, users: int, brand: Brand) -> People:
    """`users` people for the window."""
    random = generator(seed, "people")
    joined = _joined(window, random, users)
    life = random.exponential(_MEAN_LIFE_DAYS * DAY, users) + 3 * DAY
    churned = joined + life.astype(np.int64)
    second_life = random.exponential(_MEAN_LIFE_DAYS * DAY, users).astype(np.int64)
    churned = np.where((churned < 0) & (random.random(users) < 0.65), second_life, churned)
    churned = np.where(churned >= window.seconds, NEVER, churned)
    peak = random.choice(4, users, p=(0.12, 0.25, 0.45, 0.18))
    hour = np.array([8.0, 12.5, 20.5, 22.5])[peak] + random.normal(0, 0.8, users)

    style = random.choice(len(STYLES), users, p=(0.24, 0.22, 0.12, 0.16, 0.16, 0.1))
    switches = (random.random(users) < _STYLE_SWITCH_SHARE) & (churned > 0.8 * window.seconds)
    switch_day = random.integers(round(0.35 * window.days), max(round(0.65 * window.days), 1) + 1, users)
    switches &= joined < (switch_day - 0.2 * window.days) * DAY
    style_after = np.where(switches, (style + random.integers(1, len(STYLES), users)) % len(STYLES), style)

    inviter = _inviters(random, users, joined)
    channel = random.choice(len(CHANNELS), users, p=CHANNEL_SHARES)
    channel = np.where(inviter >= 0, REFERRAL, np.where(channel == REFERRAL, 0, channel))
    codes = np.array(brand.codes_by_channel)
    landing = codes[channel, random.choice(codes.shape[1], users, p=(0.5, 0.3, 0.2))]
    place = random.choice(len(PLACES), users, p=_place_shares())
    cities = np.array([len(names) for _, _, names in PLACES])[place]
    city = np.minimum((random.random(users) ** 1.8 * cities).astype(np.int64), cities - 1)
    ages = np.clip(random.gamma(6, 4.2, users) + 10, 18, 68)
    birth_day = window.start.toordinal() - (ages * 365.25).astype(np.int64) - random.integers(0, 366, users)

    seen = _Seen.of(random, seed, users, joined, window)
    deleted, blocked = _endings(random, seen.since[kinds.CONTACT], churned)
    return People(
        count=users,
        joined=joined,
        churned=churned,
        activity=random.lognormal(0, 1.25, users),
        hour=hour,
        engagement=random.beta(1.6, 3.2, users),
        style=style.astype(np.int8),
        style_after=style_after.astype(np.int8),
        style_switched=np.where(switches, switch_day * DAY, NEVER),
        category=random.choice(len(CATEGORIES), users, p=CATEGORY_SHARES).astype(np.int8),
        gender=random.choice(3, users, p=(0.8, 0.11, 0.09)).astype(np.int8),
        birth_day=birth_day,
        place=place.astype(np.int8),
        city=city.astype(np.int8),
        industry=np.where(random.random(users) < 0.12, random.integers(0, len(INDUSTRIES), users), -1).astype(
            np.int8
        ),
        channel=channel.astype(np.int8),
        landing_code=landing.astype(np.int16),
        staff=random.integers(0, brand.staff_count, users).astype(np.int16),
        inviter=inviter,
        since=seen.since,
        number=seen.number,
        typed_phone=seen.typed_phone,
        is_family_phone=seen.is_family_phone,
        is_phone_of_stranger=seen.is_phone_of_stranger,
        primary=seen.primary,
        contact_has_unionid=seen.contact_has_unionid,
        member_has_unionid=seen.member_has_unionid,
        contact_deleted=deleted,
        contact_blocked=blocked,
        is_deleted_by_staff=random.random(users) < 0.2,
    )


def _joined(window: Window, random: np.random.Generator, users: int) -> Ints:
    during = round(users * min(0.5, 0.1 + window.days / 300))
    # Up to two years before, most of them in the last one.
    earlier = -(random.exponential(190 * DAY, users - during) % (720 * DAY)) - 1
    season = np.cumsum(window.season() * np.linspace(0.9, 1.2, window.days))
    spot = random.random(during) * season[-1]
    day = np.minimum(np.searchsorted(season, spot), window.days - 1)
    clock = np.clip(random.normal(16.5, 4, during), 0.2, 23.5) * HOUR
    return np.sort(np.concatenate([earlier.astype(np.int64), day * DAY + clock.astype(np.int64)]))


def _place_shares() -> Floats:
    weights: Floats = np.array([weight for _, weight, _ in PLACES])
    total = float(weights.sum())
    return weights / total


def _inviters(random: np.random.Generator, users: int, joined: Ints) -> Ints:
    """An earlier person for some, -1 for the others: a forest, because everybody comes after the inviter.
    Few invite many, most of them invited themselves and come shortly before, which makes the chains long."""
    place = np.arange(users)
    invited = random.random(users) < 0.16
    keen = np.flatnonzero(random.random(users) < np.where(invited, 0.5, 0.06))
    if not len(keen):
        return np.full(users, -1, dtype=np.int64)
    earlier = np.searchsorted(keen, place)  # keen people before this one
    back = (earlier * random.beta(1, 2.5, users)).astype(np.int64)
    choice = keen[np.clip(earlier - 1 - back, 0, len(keen) - 1)]
    invited &= earlier > 0
    invited &= joined - joined[choice] > 2 * HOUR
    return np.where(invited, choice, -1)


def _endings(random: np.random.Generator, added: Ints, churned: Ints) -> tuple[Ints, Ints]:
    """When contacts are deleted and when they block: some soon after the add, some when they turn away."""
    users = len(added)
    soon = added + (random.exponential(6, users) * DAY).astype(np.int64) + HOUR
    later = churned + (random.random(users) * 10 * DAY).astype(np.int64)
    draw = random.random(users)
    deleted = np.where(draw < 0.07, soon, np.where(draw > 0.72, later, NEVER))
    blocked = np.where((draw >= 0.07) & (draw < 0.09), soon, NEVER)
    is_contact = added < NEVER
    deleted = np.where(is_contact & (deleted > added), deleted, NEVER)
    return np.minimum(deleted, NEVER), np.where(is_contact, np.minimum(blocked, NEVER), NEVER)


@dataclass(frozen=True)
class _Seen:
    """By what and from when people are seen. The identifiers of one person always hang together: whatever does
    not carry the unionid is tied by a link (relations.py writes them by the same rules)."""

    since: Ints
    number: Ints
    typed_phone: Ints
    is_family_phone: Flags
    is_phone_of_stranger: Flags
    primary: Ints
    contact_has_unionid: Flags
    member_has_unionid: Flags

    @classmethod
    def of(cls, random: np.random.Generator, seed: int, users: int, joined: Ints, window: Window) -> _Seen:
        person = np.arange(users)
        has_openid = random.random(users) < 0.82
        has_contact = random.random(users) < 0.6
        has_member = random.random(users) < 0.55
        has_openid |= ~(has_contact | has_member)
        has_unionid = random.random(users) < 0.94
        # What somebody comes with is seen at once, the rest some days later.
        primary = np.where(has_openid, kinds.OPENID, np.where(has_contact, kinds.CONTACT, kinds.MEMBER))
        first_is_contact = has_contact & has_openid & (random.random(users) < 0.35)
        primary = np.where(first_is_contact, kinds.CONTACT, primary)

        def later(mean_days: float) -> Ints:
            wait = (random.exponential(mean_days, users) * DAY).astype(np.int64) + 120
            return np.where(joined + wait < window.seconds, joined + wait, joined + 600)

        since = np.full((len(kinds.KINDS), users), NEVER, dtype=np.int64)
        for kind, has, mean_days in (
            (kinds.OPENID, has_openid, 1.5),
            (kinds.CONTACT, has_contact, 4.0),
            (kinds.MEMBER, has_member, 6.0),
        ):
            since[kind] = np.where(has, np.where(primary == kind, joined, later(mean_days)), NEVER)
        wechat = np.minimum(since[kinds.OPENID], since[kinds.CONTACT])
        since[kinds.UNIONID] = np.where(has_unionid, wechat, NEVER)
        has_wechat = wechat < NEVER
        has_phone = np.where(
            has_member, random.random(users) < 0.92, has_openid & (random.random(users) < 0.3)
        )
        since[kinds.PHONE] = np.where(
            has_phone, np.where(has_member, since[kinds.MEMBER], since[kinds.OPENID] + 300), NEVER
        )
        has_email = has_member & (random.random(users) < 0.28)
        since[kinds.EMAIL] = np.where(has_email, since[kinds.MEMBER], NEVER)
        has_device = (has_openid | has_member) & (random.random(users) < 0.4)
        since[kinds.DEVICE] = np.where(
            has_device, np.minimum(since[kinds.OPENID], since[kinds.MEMBER]) + 60, NEVER
        )
        has_buyer = has_member & (random.random(users) < 0.2)
        since[kinds.BUYER] = np.where(has_buyer, since[kinds.MEMBER] + 30, NEVER)

        number = np.stack([kinds.scrambled(person, seed, kind) for kind in range(len(kinds.KINDS))])
        for kind, base in ((kinds.MEMBER, 100_000_000), (kinds.EMAIL, 0), (kinds.BUYER, 2_000_000_000)):
            number[kind] = base + person
        number[kinds.PHONE] = kinds.phone_number(person)
        is_family = _share_family_phones(random, has_phone, has_member, number[kinds.PHONE])
        typed, is_strangers = _mistype(random, has_phone & has_member & ~is_family, number[kinds.PHONE])
        return cls(
            since=since,
            number=number,
            typed_phone=typed,
            is_family_phone=is_family,
            is_phone_of_stranger=is_strangers,
            primary=primary,
            contact_has_unionid=(since[kinds.UNIONID] < NEVER) & has_contact & (random.random(users) < 0.9),
            member_has_unionid=(since[kinds.UNIONID] < NEVER)
            & has_member
            & has_wechat
            & (random.random(users) < 0.85),
        )


def _share_family_phones(random: np.random.Generator, owns: Flags, is_member: Flags, number: Ints) -> Flags:
    """Gives pairs of members one phone number (in place) and says who shares one."""
    owners = random.permutation(np.flatnonzero(owns & is_member))
    pairs = min(round(int(owns.sum()) * FAMILY_PHONE_SHARE / 2), len(owners) // 2)
    first, second = owners[:pairs], owners[pairs : 2 * pairs]
    number[second] = number[first]
    shares = np.zeros(len(number), dtype=np.bool_)
    shares[first] = shares[second] = True
    return shares


def _mistype(random: np.random.Generator, allowed: Flags, number: Ints) -> tuple[Ints, Flags]:
    """Phone numbers as typed into the member form, and whose is a stranger's."""
    typed = number.copy()
    owners = random.permutation(np.flatnonzero(allowed))
    wrong = owners[: round(len(owners) * MISTYPED_PHONE_SHARE)]
    typed[wrong] = kinds.mistyped(
        number[wrong], random.integers(0, 7, len(wrong)), random.integers(1, 10, len(wrong))
    )
    strangers = wrong[: round(len(wrong) * MISTYPED_INTO_STRANGER_SHARE)]
    victims = owners[::-1][: len(strangers)]
    typed[strangers] = number[victims]
    is_strangers = np.zeros(len(number), dtype=np.bool_)
    is_strangers[strangers] = True
    return typed, is_strangers
