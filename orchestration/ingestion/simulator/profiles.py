"""Contacts, members and the links between identifiers. Contacts and members come as changes: a row again, in
its state at the end of the period, whenever something about it changed."""

from __future__ import annotations

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.brand import (
    CHANNELS,
    FAMILY_NAMES,
    GIVEN_NAMES,
    INDUSTRIES,
    PLACES,
    Brand,
)
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.purchases import Orders
from orchestration.ingestion.simulator.window import DAY, NEVER, Flags, Ints, generator

LEVELS = ("silver", "gold", "platinum", "diamond")
# The paid order that lifts a member to the next level.
_LEVEL_ORDERS = (2, 5, 9)
TEST_DEVICE_SHARE = 0.005
_SOURCES = ("login", "add_friend", "form", "order")
LOGIN, ADD_FRIEND, FORM, ORDER = range(len(_SOURCES))
_ADD_WAYS = ("scan_qr", "search_phone", "name_card", "group", "referral")


def sql_list(values: tuple[str, ...] | list[object]) -> str:
    """A list of texts as SQL."""
    return (
        "[" + ", ".join("null" if v is None else "'" + str(v).replace("'", "''") + "'" for v in values) + "]"
    )


def changed(first: int, last: int, *moments: Ints) -> Flags:
    """Where one of the moments lies on the days first..last; day 0 stands for everything before it too."""
    begins = -NEVER if first == 0 else first * DAY
    found = np.zeros(len(moments[0]), dtype=np.bool_)
    for moment in moments:
        found |= (moment >= begins) & (moment < (last + 1) * DAY)
    return found


def known(moment: Ints, last: int) -> Ints:
    """The moments that have come by the end of a day; NEVER for the others."""
    return np.where(moment < (last + 1) * DAY, moment, NEVER)


class Profiles:
    """Writes contacts, members and identity links period by period."""

    def __init__(self, seed: int, people: People, brand: Brand, orders: Orders) -> None:
        self._people = people
        self._brand = brand
        random = generator(seed, "profiles")
        count = people.count
        self._family_name = random.integers(0, len(FAMILY_NAMES), count)
        self._given_name = random.integers(0, len(GIVEN_NAMES), count)
        self._add_way = random.choice(len(_ADD_WAYS), count, p=(0.55, 0.12, 0.13, 0.1, 0.1))
        self._has_code = random.random(count) < 0.86
        self._draw = random.random(count)
        self._household = random.integers(1, 6, count)
        self._second_staff = np.flatnonzero(
            (people.since[kinds.CONTACT] < NEVER) & (random.random(count) < 0.08)
        )
        wait = random.integers(5, 60, len(self._second_staff)) * DAY
        self._second_added = people.since[kinds.CONTACT, self._second_staff] + wait
        self._junk = random.random(count)
        self._level_ups = np.full((len(_LEVEL_ORDERS), count), NEVER, dtype=np.int64)
        for row, rank in enumerate(_LEVEL_ORDERS):
            lifting = np.flatnonzero(orders.rank == rank)
            self._level_ups[row, orders.person[lifting]] = orders.moment[lifting]
        registered = people.since[kinds.MEMBER]
        self._level_ups = np.where(registered < NEVER, np.maximum(self._level_ups, registered), NEVER)
        self._links = _links(seed, people)

    def write_contacts(self, landing: Landing, first: int, last: int) -> None:
        """Contacts added, deleted or blocked on those days."""
        people = self._people
        added = people.since[kinds.CONTACT]
        main = np.flatnonzero(changed(first, last, added, people.contact_deleted, people.contact_blocked))
        main = main[added[main] < (last + 1) * DAY]
        second = np.flatnonzero(changed(first, last, self._second_added))
        helped = self._second_staff[second]
        person = np.concatenate([main, helped])
        is_second = np.arange(len(person)) >= len(main)
        moment = np.concatenate([added[main], self._second_added[second]])
        deleted = np.where(is_second, NEVER, known(people.contact_deleted[person], last))
        columns = {
            "contact": people.number[kinds.CONTACT, person],
            "staff": (people.staff[person] + np.where(is_second, 1, 0)) % self._brand.staff_count,
            "added": moment,
            "deleted": deleted,
            "by_staff": people.is_deleted_by_staff[person],
            "blocked": np.where(is_second, NEVER, known(people.contact_blocked[person], last)),
            "way": self._add_way[person],
            "code": np.where(self._has_code[person] & ~is_second, people.landing_code[person], -1),
            "unionid": np.where(people.contact_has_unionid[person], people.number[kinds.UNIONID, person], -1),
            "family": self._family_name[person],
            "given": self._given_name[person],
        }
        order = np.argsort(moment, kind="stable")
        landing.write(
            "contacts",
            last,
            {name: values[order] for name, values in columns.items()},
            f"""identifier({kinds.CONTACT}, contact) as contact_id, numbered('S', staff, 3) as staff_id,
            moment(added) as added_at, moment(deleted) as deleted_at,
            case when deleted < {NEVER} then case when by_staff then 'staff' else 'contact' end end as deleted_by,
            moment(blocked) as blocked_at, pick({sql_list(_ADD_WAYS)}, way) as add_way,
            pick({sql_list(self._brand.landing_codes["state_code"])}, code) as state_code,
            case when unionid >= 0 then identifier({kinds.UNIONID}, unionid) end as unionid, {_NAME} as name""",
        )

    def write_members(self, landing: Landing, first: int, last: int) -> None:
        """Members who registered or rose on those days."""
        people = self._people
        registered = people.since[kinds.MEMBER]
        person = np.flatnonzero(changed(first, last, registered, *self._level_ups))
        person = person[registered[person] < (last + 1) * DAY]
        person = person[np.argsort(registered[person], kind="stable")]
        risen = np.stack([known(row[person], last) for row in self._level_ups])
        updated = np.where(risen < NEVER, risen, registered[person]).max(axis=0)
        draw = self._draw[person]

        def where_seen(kind: int) -> Ints:
            return np.where(people.since[kind, person] < NEVER, people.number[kind, person], -1)

        phone = np.where(people.since[kinds.PHONE, person] < NEVER, people.typed_phone[person], -1)
        birth = np.where((draw * 7) % 1 < 0.78, people.birth_day[person], -1)
        landing.write(
            "members",
            last,
            {
                "member": people.number[kinds.MEMBER, person],
                "registered": registered[person],
                "unionid": np.where(
                    people.member_has_unionid[person], people.number[kinds.UNIONID, person], -1
                ),
                "phone": phone,
                "junk": self._junk[person],
                "email": where_seen(kinds.EMAIL),
                "device": np.where((draw * 11) % 1 < 0.3, where_seen(kinds.DEVICE), -1),
                "gender": people.gender[person],
                "birth": birth,
                "age": (2026 - people.birth_day[person] // 365.2425).astype(np.int64),
                "tells": (draw * 13) % 1,
                "income": (draw * 1_000).astype(np.int64) % 4,
                "household": self._household[person],
                "place": people.place[person],
                "city": people.city[person],
                "industry": people.industry[person],
                "level": (risen < NEVER).sum(axis=0),
                "channel": people.channel[person],
                "updated": updated,
                "number": person,
            },
            f"""identifier({kinds.MEMBER}, member) as member_id, moment(registered) as registered_at,
            case when unionid >= 0 then identifier({kinds.UNIONID}, unionid)
                when junk < 0.02 then 'anonymous' end as unionid,
            case when phone >= 0 then identifier({kinds.PHONE}, phone)
                when junk < 0.2 then '00000000000' when junk < 0.3 then 'anonymous' end as phone,
            case when email >= 0 then identifier({kinds.EMAIL}, email) end as email,
            case when device >= 0 then identifier({kinds.DEVICE}, device) when junk > 0.98 then '0' end as device_id,
            pick(['female', 'male', null], gender) as gender,
            case when birth >= 0 then date '1970-01-01' + cast(birth - 719163 as integer) end as birth_date,
            case when birth < 0 and tells < 0.6 then
                cast(age // 10 * 10 as varchar) || '-' || cast(age // 10 * 10 + 9 as varchar) end as age_band,
            case when tells < 0.35 then pick(['under_10k', '10k_20k', '20k_35k', 'over_35k'], income) end
                as income_band,
            case when tells < 0.35 then cast(household as varchar) end as household_size,
            case when tells < 0.35 then cast(greatest(household - 2, 0) as varchar) end as children_count,
            'CN' as country, pick({sql_list(tuple(name for name, _, _ in PLACES))}, place) as province,
            {_CITIES}[place + 1][city + 1] as city, pick({sql_list(INDUSTRIES)}, industry) as industry,
            case when industry >= 0 then '示例公司' || lpad(cast(number % 900 + 1 as varchar), 3, '0') end as company,
            pick({sql_list(LEVELS)}, level) as level, pick({sql_list(CHANNELS)}, channel) as channel,
            moment(updated) as updated_at""",
        )

    def write_links(self, landing: Landing, first: int, last: int) -> None:
        """Links seen on those days."""
        rows = np.flatnonzero(changed(first, last, self._links["moment"]))
        landing.write(
            "identity_links",
            last,
            {name: values[rows] for name, values in self._links.items()},
            f"""kind_name(kind_a) as id_type_a, identifier(kind_a, number_a) as id_a,
            kind_name(kind_b) as id_type_b, identifier(kind_b, number_b) as id_b,
            moment(moment) as linked_at, pick({sql_list(_SOURCES)}, source) as source""",
        )

    @property
    def test_device_count(self) -> int:
        """How many devices are no person's."""
        return len(np.unique(self._links["number_a"][self._links["number_a"] >= kinds.FIRST_TEST_DEVICE]))


_NAME = f"{sql_list(FAMILY_NAMES)}[family + 1] || {sql_list(GIVEN_NAMES)}[given + 1]"
_CITIES = "[" + ", ".join(sql_list(cities) for _, _, cities in PLACES) + "]"


def _links(seed: int, people: People) -> dict[str, Ints]:
    """All links, sorted by time. Together with what contacts and members carry they tie every identifier of a
    person to the others."""
    random = generator(seed, "links")
    since, number = people.since, people.number
    has = since < NEVER
    everyone = np.arange(people.count)
    parts: list[tuple[Ints, Ints, Ints, Ints, Ints, Ints]] = []

    def link(mask: Flags, kind_a: int, kind_b: int, source: int, wait: int) -> None:
        who = everyone[mask]
        moment = np.maximum(since[kind_a, who], since[kind_b, who]) + wait
        size = len(who)
        parts.append(
            (
                np.full(size, kind_a),
                number[kind_a, who],
                np.full(size, kind_b),
                number[kind_b, who],
                moment,
                np.full(size, source),
            )
        )

    contact, openid, member, unionid = (
        has[kind] for kind in (kinds.CONTACT, kinds.OPENID, kinds.MEMBER, kinds.UNIONID)
    )
    link(openid & unionid, kinds.OPENID, kinds.UNIONID, LOGIN, 5)
    link(contact & unionid & ~people.contact_has_unionid, kinds.CONTACT, kinds.UNIONID, ADD_FRIEND, 60)
    link(contact & ~unionid & openid, kinds.CONTACT, kinds.OPENID, ADD_FRIEND, 60)
    lone = member & ~people.member_has_unionid
    link(lone & openid, kinds.MEMBER, kinds.OPENID, LOGIN, 40)
    link(lone & ~openid & contact, kinds.MEMBER, kinds.CONTACT, FORM, 40)
    phone = has[kinds.PHONE]
    # The number given to the mini-program is right even where the member form has a wrong one.
    wrong = phone & (people.typed_phone != number[kinds.PHONE])
    often = random.random(people.count) < 0.4
    link(phone & openid & (~member | wrong | often), kinds.OPENID, kinds.PHONE, LOGIN, 90)
    link(wrong & ~openid, kinds.MEMBER, kinds.PHONE, FORM, 90)
    link(has[kinds.DEVICE] & openid, kinds.DEVICE, kinds.OPENID, LOGIN, 30)
    link(has[kinds.DEVICE] & ~openid, kinds.DEVICE, kinds.MEMBER, LOGIN, 30)
    link(has[kinds.BUYER], kinds.BUYER, kinds.MEMBER, ORDER, 30)
    link(has[kinds.EMAIL] & phone & often & ~wrong, kinds.EMAIL, kinds.PHONE, FORM, 50)

    # Devices of the shop and of testers, on which very many people log in.
    devices = max(1, round(int(has[kinds.DEVICE].sum()) * TEST_DEVICE_SHARE))
    guests = max(30, min(400, people.count // 40))
    owners = np.flatnonzero(openid)
    if len(owners):
        who = owners[random.integers(0, len(owners), devices * guests)]
        device = kinds.FIRST_TEST_DEVICE + np.repeat(np.arange(devices), guests)
        pairs = np.unique(np.stack([device, who]), axis=1)
        device, who = pairs[0], pairs[1]
        size = len(who)
        wait = random.integers(60, 40 * DAY, size)
        parts.append(
            (
                np.full(size, kinds.DEVICE),
                device,
                np.full(size, kinds.OPENID),
                number[kinds.OPENID, who],
                since[kinds.OPENID, who] + wait,
                np.full(size, LOGIN),
            )
        )
    # Placeholders that a careless source writes into its links.
    careless = np.flatnonzero(member & (random.random(people.count) < 0.004))
    size = len(careless)
    parts.append(
        (
            np.full(size, kinds.ZERO_PHONE),
            np.zeros(size, dtype=np.int64),
            np.full(size, kinds.MEMBER),
            number[kinds.MEMBER, careless],
            since[kinds.MEMBER, careless] + 20,
            np.full(size, FORM),
        )
    )
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    order = np.lexsort((columns[3], columns[1], columns[4]))
    names = ("kind_a", "number_a", "kind_b", "number_b", "moment", "source")
    return {name: values[order].astype(np.int64) for name, values in zip(names, columns, strict=True)}
