"""Leads, coupons, referrals, groups, surveys, tags set by hand, consents, experiments and requests to be erased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.ingestion.simulator import identifiers as kinds
from orchestration.ingestion.simulator.behaviour import ACCOUNT, CODE, Events
from orchestration.ingestion.simulator.brand import CHANNELS, STYLES, Brand
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.outreach import MAIL, SMS, WECOM_TOUCH, Outreach
from orchestration.ingestion.simulator.population import People
from orchestration.ingestion.simulator.profiles import changed, known, sql_list
from orchestration.ingestion.simulator.purchases import EXPERIMENT, PLACEBO, Orders, Trial
from orchestration.ingestion.simulator.window import DAY, HOUR, NEVER, Floats, Ints, Window, generator

# A channel of consents only: nobody gets a message there.
ADS = 3
_FORMS = ("distributor_signup", "salon_cooperation", "skin_test", "sample_request")
_SEGMENTS = ("beauty_salon", "pharmacy", "online_shop", "department_store")
_TAGS = ("vip_care", "sensitive_skin", "complained", "koc_candidate")
_SKIN = ("dry", "oily", "combination", "sensitive", "normal")
_CONCERNS = ("dullness", "wrinkles", "acne", "redness", "pores")
_ID = "kind_name(kind) as id_type, identifier(kind, number) as id"


@dataclass(frozen=True)
class Leads:
    """One element per lead, sorted by creation."""

    person: Ints
    created: Ints
    qualified: Ints
    accepted: Ints
    won: Ints
    lost: Ints
    amount: Ints
    draw: Floats


def find_leads(window: Window, seed: int, people: People) -> Leads:
    """People who sign up as distributors or partners, and how far they come."""
    random = generator(seed, "leads")
    wanted = max(12, round(people.count * 0.04))
    person = np.sort(random.permutation(people.count)[:wanted])
    begins = np.maximum(people.joined[person], 0) + 2 * HOUR
    created = begins + (random.random(len(person)) * (window.seconds - begins)).astype(np.int64)
    usable = (created < window.seconds) & (created < people.churned[person])
    person, created = person[usable], created[usable]
    order = np.argsort(created, kind="stable")
    person, created = person[order], created[order]
    count = len(person)
    channel = people.channel[person]
    better = np.where(np.isin(channel, (3, 5, 7)), 1.25, 0.9)
    is_qualified = random.random(count) < 0.55 * better
    is_accepted = is_qualified & (random.random(count) < 0.5 * better)
    is_won = is_accepted & (random.random(count) < 0.42)
    days = random.exponential((2.0, 5.0, 9.0), (count, 3)) * DAY + HOUR
    qualified = created + days[:, 0].astype(np.int64)
    accepted = qualified + days[:, 1].astype(np.int64)
    closed = accepted + days[:, 2].astype(np.int64)
    return Leads(
        person=person,
        created=created,
        qualified=np.where(is_qualified, qualified, NEVER),
        accepted=np.where(is_accepted, accepted, NEVER),
        won=np.where(is_won, closed, NEVER),
        lost=np.where(is_accepted & ~is_won & (random.random(count) < 0.7), closed, NEVER),
        amount=(random.lognormal(9.2, 0.8, count) * 100).astype(np.int64),
        draw=random.random(count),
    )


def lead_events(seed: int, leads: Leads) -> Events:
    """The way through the official account to each lead's form."""
    random = generator(seed, "lead events")
    count = len(leads.person)
    session = (1 << 44) + np.arange(count)
    parts = []
    for name, before, share in (
        ("subscribe", 1_500, 0.75),
        ("menu_click", 700, 0.7),
        ("keyword_reply", 600, 0.35),
        ("form_view", 240, 0.96),
        ("form_submit", 2, 0.96),
    ):
        rows = np.flatnonzero(random.random(count) < share)
        parts.append(
            Events.of(
                leads.person[rows],
                leads.created[rows] - before,
                CODE[name],
                ACCOUNT,
                session=session[rows],
            )
        )
    return Events.join(parts)


class Dealings:
    """Writes the smaller tables period by period."""

    def __init__(
        self,
        window: Window,
        seed: int,
        people: People,
        brand: Brand,
        orders: Orders,
        leads: Leads,
        trial: Trial,
    ) -> None:
        self._window, self._people, self._brand, self._orders = window, people, brand, orders
        self._leads, self._trial = leads, trial
        self._plan_coupons(generator(seed, "coupons"))
        self._plan_groups(generator(seed, "groups"))
        self._plan_surveys(generator(seed, "surveys"))
        self._plan_tags(generator(seed, "manual tags"))
        self._plan_requests(generator(seed, "requests"))
        self._plan_invitations(generator(seed, "invitations"))
        self._plan_consents(generator(seed, "consents"))

    def write(self, landing: Landing, outreach: Outreach, first: int, last: int) -> None:
        """All tables of those days."""
        self._write_leads(landing, first, last)
        self._write_coupons(landing, first, last)
        self._write_referrals(landing, first, last)
        self._write_memberships(landing, first, last)
        self._write_surveys(landing, first, last)
        self._write_tags(landing, first, last)
        self._write_trial(landing, first, last)
        self._write_consents(landing, outreach, first, last)
        self._write_requests(landing, first, last)

    def _identity(self, person: Ints, moment: Ints, *preferred: int) -> dict[str, Ints]:
        kind, number = self._people.identity(person, moment, preferred)
        return {"kind": kind, "number": number}

    def _write_leads(self, landing: Landing, first: int, last: int) -> None:
        leads, people = self._leads, self._people
        rows = np.flatnonzero(
            changed(first, last, leads.created, leads.qualified, leads.accepted, leads.won, leads.lost)
            & (leads.created < (last + 1) * DAY)
        )
        person = leads.person[rows]
        identity = self._identity(person, leads.created[rows], kinds.UNIONID, kinds.PHONE)
        identity["kind"] = np.where(leads.draw[rows] < 0.04, kinds.NOBODY, identity["kind"])
        shared = (identity["kind"] == kinds.PHONE) & people.is_family_phone[person]
        identity["kind"] = np.where(shared, kinds.NOBODY, identity["kind"])
        landing.write(
            "leads",
            last,
            {
                "lead": rows,
                "created": leads.created[rows],
                **identity,
                "origin": people.channel[person],
                "form": (leads.draw[rows] * 400).astype(np.int64) % 4,
                "qualified": known(leads.qualified[rows], last),
                "accepted": known(leads.accepted[rows], last),
                "won": known(leads.won[rows], last),
                "lost": known(leads.lost[rows], last),
                "amount": leads.amount[rows],
                "segment": (leads.draw[rows] * 4_000).astype(np.int64) % 4,
                "staff": people.staff[person],
            },
            f"""numbered('LD', lead, 6) as lead_id, moment(created) as created_at,
            kind_name(kind) as id_type, case when kind >= 0 then identifier(kind, number) end as id,
            pick({sql_list(CHANNELS)}, origin) as origin,
            '/landing/' || pick({sql_list(_FORMS)}, form) as landing_page, pick({sql_list(_FORMS)}, form) as form,
            moment(qualified) as mql_at, moment(accepted) as sql_at, moment(won) as won_at, moment(lost) as lost_at,
            case when won < {NEVER} then money(amount) end as amount,
            pick({sql_list(_SEGMENTS)}, segment) as business_segment, numbered('S', staff, 3) as owner_staff_id""",
        )

    def _plan_coupons(self, random: np.random.Generator) -> None:
        """Coupons that were used in orders, and more that never are."""
        people, orders = self._people, self._orders
        used = np.flatnonzero(orders.has_coupon)
        lead_time = random.integers(HOUR, 18 * DAY, len(used))
        issued = np.maximum(orders.moment[used] - lead_time, people.joined[orders.person[used]] + 60)
        more = np.flatnonzero(random.random(people.count) < 0.45)
        begins = np.maximum(people.joined[more], -60 * DAY)
        until = np.minimum(people.churned[more], self._window.seconds)
        more, begins, until = (values[until > begins + DAY] for values in (more, begins, until))
        given = begins + (random.random(len(more)) ** 0.7 * (until - begins)).astype(np.int64)
        person = np.concatenate([orders.person[used], more])
        issued = np.concatenate([issued, given])
        order = np.lexsort((person, issued))
        unused = np.full(len(more), -1)
        self._coupon_person, self._coupon_issued = person[order], issued[order]
        self._coupon_order = np.concatenate([used, unused])[order]
        self._coupon_used = np.concatenate([orders.moment[used], np.full(len(more), NEVER)])[order]
        values = np.array([2_000, 3_000, 5_000])[random.integers(0, 3, len(more))]
        self._coupon_cents = np.concatenate([orders.coupon_cents[used], values])[order]
        self.coupon_of_order = np.full(len(orders.person), -1, dtype=np.int64)
        self.coupon_of_order[self._coupon_order[self._coupon_order >= 0]] = np.flatnonzero(
            self._coupon_order >= 0
        )

    def _write_coupons(self, landing: Landing, first: int, last: int) -> None:
        rows = np.flatnonzero(changed(first, last, self._coupon_issued, self._coupon_used))
        used = known(self._coupon_used[rows], last)
        number = np.where(used < NEVER, self._coupon_order[rows], -1)
        landing.write(
            "coupons",
            last,
            {
                "coupon": rows,
                **self._identity(
                    self._coupon_person[rows], self._coupon_issued[rows], kinds.CONTACT, kinds.OPENID
                ),
                "issued": self._coupon_issued[rows],
                "expires": self._coupon_issued[rows] // DAY * DAY + 30 * DAY - 1,
                "used": used,
                "order_day": np.where(number >= 0, self._orders.moment[number] // DAY, 0),
                "order_number": np.where(number >= 0, self._orders.number[number], -1),
                "face": self._coupon_cents[rows],
            },
            f"""numbered('C', coupon, 8) as coupon_id, {_ID}, moment(issued) as issued_at,
            moment(expires) as expires_at, moment(used) as used_at,
            {ORDER_ID} as order_id, money(face) as face_amount""",
        )

    def _plan_invitations(self, random: np.random.Generator) -> None:
        people = self._people
        person = np.flatnonzero(people.inviter >= 0)
        inviter = people.inviter[person]
        wait = (random.exponential(1.2, len(person)) * DAY).astype(np.int64) + 300
        self._invitee = person
        self._invited = np.maximum(people.joined[person] - wait, people.joined[inviter] + HOUR)

    def _write_referrals(self, landing: Landing, first: int, last: int) -> None:
        people = self._people
        joined = people.joined[self._invitee]
        rows = np.flatnonzero(changed(first, last, joined))
        rows = rows[np.argsort(self._invited[rows], kind="stable")]
        invitee = self._invitee[rows]
        inviter = people.inviter[invitee]
        by = self._identity(inviter, self._invited[rows], kinds.OPENID, kinds.CONTACT)
        whom = self._identity(invitee, joined[rows])
        campaign = self._brand.campaigns["kind"].index("referral")
        landing.write(
            "referrals",
            last,
            {
                "inviter_kind": by["kind"],
                "inviter": by["number"],
                **whom,
                "invited": self._invited[rows],
                "joined": joined[rows],
            },
            f"""kind_name(inviter_kind) as inviter_id_type, identifier(inviter_kind, inviter) as inviter_id,
            kind_name(kind) as invitee_id_type, identifier(kind, number) as invitee_id,
            moment(invited) as invited_at, moment(joined) as joined_at,
            numbered('CP', {campaign}, 3) as campaign_id""",
        )

    def _plan_groups(self, random: np.random.Generator) -> None:
        people = self._people
        person = np.flatnonzero((people.since[kinds.CONTACT] < NEVER) & (random.random(people.count) < 0.4))
        wait = (random.exponential(5, len(person)) * DAY).astype(np.int64) + HOUR
        joined = people.since[kinds.CONTACT, person] + wait
        left = np.minimum(joined + (random.exponential(45, len(person)) * DAY).astype(np.int64) + DAY, NEVER)
        self._group_person, self._group_joined = person, joined
        self._group_left = np.where(random.random(len(person)) < 0.25, left, NEVER)
        self._group = random.integers(0, self._brand.group_count, len(person))

    def _write_memberships(self, landing: Landing, first: int, last: int) -> None:
        rows = np.flatnonzero(changed(first, last, self._group_joined, self._group_left))
        rows = rows[self._group_joined[rows] < (last + 1) * DAY]
        landing.write(
            "group_memberships",
            last,
            {
                "group": self._group[rows],
                "contact": self._people.number[kinds.CONTACT, self._group_person[rows]],
                "joined": self._group_joined[rows],
                "left": known(self._group_left[rows], last),
            },
            f"""numbered('G', "group", 4) as group_id, 'contact_id' as id_type,
            identifier({kinds.CONTACT}, contact) as id, moment(joined) as joined_at, moment("left") as left_at""",
        )

    def _plan_surveys(self, random: np.random.Generator) -> None:
        people = self._people
        person = np.flatnonzero(random.random(people.count) < 0.09)
        begins = np.maximum(people.joined[person], 0) + HOUR
        until = np.minimum(people.churned[person], self._window.seconds)
        person, begins, until = (values[until > begins + DAY] for values in (person, begins, until))
        answered = begins + (random.random(len(person)) * (until - begins)).astype(np.int64)
        order = np.argsort(answered, kind="stable")
        self._survey_person, self._answered = person[order], answered[order]
        self._survey_draw = random.random(len(person))

    def _write_surveys(self, landing: Landing, first: int, last: int) -> None:
        people = self._people
        rows = np.repeat(np.flatnonzero(changed(first, last, self._answered)), 3)
        question = np.arange(len(rows)) % 3
        person = self._survey_person[rows]
        landing.write(
            "surveys",
            last,
            {
                "response": rows,
                **self._identity(person, self._answered[rows], kinds.OPENID, kinds.CONTACT),
                "answered": self._answered[rows],
                "question": question,
                "style": people.style_at(person, self._answered[rows]),
                "other": (self._survey_draw[rows] * 500).astype(np.int64) % 5,
            },
            f"""numbered('SV', response, 6) as response_id, {_ID}, moment(answered) as answered_at,
            pick(['skin_type', 'favourite_style', 'skin_concern'], question) as question,
            case question when 0 then pick({sql_list(_SKIN)}, other) when 1 then pick({sql_list(STYLES)}, style)
                else pick({sql_list(_CONCERNS)}, other) end as answer""",
        )

    def _plan_tags(self, random: np.random.Generator) -> None:
        people = self._people
        added = people.since[kinds.CONTACT]
        person = np.flatnonzero(
            (added < self._window.seconds - 2 * DAY) & (random.random(people.count) < 0.05)
        )
        begins = np.maximum(added[person], -30 * DAY) + HOUR
        given = begins + (random.random(len(person)) * (self._window.seconds - begins)).astype(np.int64)
        self._tagged, self._tagged_at = person, given
        self._tag = random.choice(len(_TAGS), len(person), p=(0.25, 0.4, 0.15, 0.2))
        cleared = given + random.integers(DAY, 60 * DAY, len(person))
        self._cleared_at = np.where(random.random(len(person)) < 0.2, cleared, NEVER)

    def _write_tags(self, landing: Landing, first: int, last: int) -> None:
        rows = np.flatnonzero(changed(first, last, self._tagged_at, self._cleared_at))
        rows = rows[self._tagged_at[rows] < (last + 1) * DAY]
        person = self._tagged[rows]
        landing.write(
            "manual_tags",
            last,
            {
                **self._identity(person, self._tagged_at[rows], kinds.CONTACT),
                "tag": self._tag[rows],
                "given": self._tagged_at[rows],
                "staff": self._people.staff[person],
                "cleared": known(self._cleared_at[rows], last),
            },
            f"""{_ID}, pick({sql_list(_TAGS)}, tag) as tag, moment(given) as set_at, 'true' as value,
            numbered('S', staff, 3) as set_by, moment(cleared) as cleared_at""",
        )

    def _write_trial(self, landing: Landing, first: int, last: int) -> None:
        trial, people = self._trial, self._people
        person = np.concatenate([trial.person, trial.placebo_person])
        is_placebo = np.arange(len(person)) >= len(trial.person)
        arm = np.concatenate([trial.arm, trial.placebo_arm])
        moment = np.where(is_placebo, trial.placebo_moment, people.joined[person])
        rows = np.flatnonzero(changed(first, last, moment))
        rows = rows[np.argsort(moment[rows], kind="stable")]
        landing.write(
            "experiment_assignments",
            last,
            {
                "placebo": is_placebo[rows],
                **self._identity(person[rows], moment[rows]),
                "arm": arm[rows],
                "assigned": moment[rows],
            },
            f"""case when placebo then '{PLACEBO}' else '{EXPERIMENT}' end as experiment, {_ID},
            pick(['control', 'treatment'], arm) as arm, moment(assigned) as assigned_at""",
        )

    def _plan_consents(self, random: np.random.Generator) -> None:
        people = self._people
        contact, member = people.since[kinds.CONTACT], people.since[kinds.MEMBER]
        phone = np.where(people.since[kinds.PHONE] < NEVER, member, NEVER)
        email = np.where(people.since[kinds.EMAIL] < NEVER, member, NEVER)
        draws = random.random((5, people.count))
        # (identifier, purpose: 0 marketing 1 service, channel, granted at, withdrawn at)
        self._consents = [
            (kinds.CONTACT, 0, WECOM_TOUCH, np.where(draws[0] < 0.93, contact, NEVER)),
            (kinds.CONTACT, 1, WECOM_TOUCH, np.where(draws[1] < 0.5, contact, NEVER)),
            (kinds.MEMBER, 0, SMS, np.where(draws[2] < 0.78, phone, NEVER)),
            (kinds.MEMBER, 1, SMS, np.where(draws[3] < 0.6, phone, NEVER)),
            (kinds.MEMBER, 0, MAIL, np.where(draws[4] < 0.7, email, NEVER)),
        ]
        later = random.integers(DAY, 120 * DAY, people.count)
        self._change_of_mind = np.where(random.random(people.count) < 0.03, later, NEVER)
        # Of those who want text messages a part also lets itself be found again by advertising platforms.
        by_sms = self._consents[2][3]
        self._consents.append(
            (kinds.MEMBER, 0, ADS, np.where(random.random(people.count) < 0.45, by_sms, NEVER))
        )

    def _write_consents(self, landing: Landing, outreach: Outreach, first: int, last: int) -> None:
        people = self._people
        parts = []
        for kind, purpose, channel, granted in self._consents:
            withdrawn = np.full(people.count, NEVER, dtype=np.int64)
            if purpose == 0:
                asked = SMS if channel == ADS else channel  # who unsubscribes from messages means this too
                withdrawn = np.minimum(outreach.unsubscribed[asked], granted + self._change_of_mind)
                withdrawn = np.where((granted < NEVER) & (withdrawn > granted), withdrawn, NEVER)
            for status, moment in ((0, granted), (1, np.minimum(withdrawn, NEVER))):
                rows = np.flatnonzero(changed(first, last, moment))
                parts.append(
                    np.stack(
                        [
                            np.full(len(rows), kind),
                            people.number[kind, rows],
                            np.full(len(rows), purpose),
                            np.full(len(rows), channel),
                            np.full(len(rows), status),
                            moment[rows],
                        ]
                    )
                )
        columns = np.concatenate(parts, axis=1)
        columns = columns[:, np.lexsort((columns[3], columns[2], columns[1], columns[5]))]
        names = ("kind", "number", "purpose", "channel", "status", "moment")
        landing.write(
            "consents",
            last,
            dict(zip(names, columns, strict=True)),
            f"""{_ID}, pick(['marketing', 'service'], purpose) as purpose,
            pick(['wecom', 'sms', 'email', 'ads'], channel) as channel,
            pick(['granted', 'withdrawn'], status) as status, moment(moment) as changed_at""",
        )

    def _plan_requests(self, random: np.random.Generator) -> None:
        people = self._people
        wanted = max(2, round(people.count * 0.0008))
        person = np.sort(
            random.permutation(np.flatnonzero(people.joined < 0.5 * self._window.seconds))[:wanted]
        )
        asked = ((0.55 + 0.4 * random.random(len(person))) * self._window.seconds).astype(np.int64)
        order = np.argsort(asked, kind="stable")
        self._eraser, self._erase_at = person[order], asked[order]

    def _write_requests(self, landing: Landing, first: int, last: int) -> None:
        rows = np.flatnonzero(changed(first, last, self._erase_at))
        landing.write(
            "erasure_requests",
            last,
            {
                "request": rows,
                **self._identity(self._eraser[rows], self._erase_at[rows], kinds.MEMBER, kinds.CONTACT),
                "asked": self._erase_at[rows],
            },
            f"numbered('ER', request, 5) as request_id, {_ID}, moment(asked) as requested_at",
        )


# Order numbers: the day and the place in it.
ORDER_ID = """case when order_number >= 0 then
    'O' || strftime(moment(order_day * 86400), '%Y%m%d') || lpad(cast(order_number + 1 as varchar), 6, '0') end"""
