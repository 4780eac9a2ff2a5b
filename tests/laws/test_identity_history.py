"""Identity on any day is what plain Python finds when it lives through the days one by one."""

from __future__ import annotations

import datetime as dt

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.laws.identity_support import MODELS, File, History, Identifier, Rules, Warehouse

FIRST = dt.date(2026, 1, 5)
DAYS = 7
LIMITS = {
    "member_id": (True, 2, 3, True),
    "phone": (False, 1, 2, True),
    "device_id": (False, 2, 2, True),
    "lead_id": (False, 3, 5, False),
    "buyer_id": (False, 2, 3, True),
    "*": (False, 9, 9, True),
}
# Phones keep their form when they are normalised.
NAMES = {
    "member_id": [f"m{n}" for n in range(4)],
    "phone": [f"1380000000{n}" for n in range(4)],
    "device_id": [f"d{n}" for n in range(3)],
    "buyer_id": [f"b{n}" for n in range(3)],
}


def _moments() -> st.SearchStrategy[dt.datetime]:
    # Around the end of business days (16:00 UTC), some after the day they arrive on.
    return st.builds(
        lambda day, hour: dt.datetime.combine(FIRST, dt.time(hour)) + dt.timedelta(days=day),
        st.integers(-2, DAYS - 2),
        st.sampled_from([3, 15, 16]),
    )


def _identifiers() -> st.SearchStrategy[Identifier]:
    known = [(kind, name) for kind, names in NAMES.items() for name in names]
    return st.sampled_from([*known, ("phone", "00000"), ("phone", " ")])


def _files() -> st.SearchStrategy[list[File]]:
    member = st.fixed_dictionaries(
        {
            "member_id": st.sampled_from(NAMES["member_id"]),
            "registered_at": _moments(),
            "phone": st.sampled_from([None, "0", *NAMES["phone"]]),
            "device_id": st.sampled_from([None, None, *NAMES["device_id"]]),
        }
    )
    link = st.builds(
        lambda a, b, at: {"id_type_a": a[0], "id_a": a[1], "id_type_b": b[0], "id_b": b[1], "linked_at": at},
        _identifiers(),
        _identifiers(),
        _moments(),
    )
    event = st.builds(
        lambda number, who, at, name, properties: {
            "event_id": number,
            "id_type": who[0],
            "id": who[1],
            "event_name": name,
            "occurred_at": at,
            "properties": properties,
        },
        st.sampled_from([None, "e1", "e2", "e3"]),
        _identifiers(),
        _moments(),
        st.sampled_from(["view", "form_submit", " Sign_In "]),
        st.sampled_from([None, "{}", *(f'{{"phone": "{phone}"}}' for phone in NAMES["phone"])]),
    )
    lead = st.builds(
        lambda number, who, at: {"lead_id": number, "id_type": who[0], "id": who[1], "created_at": at},
        st.sampled_from(["l1", "l2", "l3", "l4"]),
        _identifiers(),
        _moments(),
    )
    order = st.builds(
        lambda number, who, device, at: {
            "order_id": number,
            "id_type": who[0],
            "id": who[1],
            "device_id": device,
            "ordered_at": at,
        },
        st.sampled_from(["o1", "o2"]),
        _identifiers(),
        st.sampled_from([None, *NAMES["device_id"]]),
        _moments(),
    )
    refund = st.builds(
        lambda number, who, at: {"refund_id": number, "id_type": who[0], "id": who[1], "refunded_at": at},
        st.sampled_from(["r1", "r2"]),
        _identifiers(),
        _moments(),
    )
    tables = {
        "members": member,
        "identity_links": link,
        "events": event,
        "leads": lead,
        "orders": order,
        "refunds": refund,
    }

    def file(table: str) -> st.SearchStrategy[File]:
        return st.builds(
            lambda day, rows, path: File(table, FIRST + dt.timedelta(days=day), tuple(rows), path),
            st.integers(0, DAYS - 1),
            st.lists(tables[table], max_size=4),
            st.sampled_from([None, None, "snapshot.csv"]),
        )

    some = st.sampled_from([*tables, "members", "identity_links", "events"])
    return st.lists(some.flatmap(file), min_size=1, max_size=14).map(
        lambda files: sorted(files, key=lambda file: file.day)
    )


def _rules() -> st.SearchStrategy[Rules]:
    decision = st.tuples(st.sampled_from(["include", "exclude"]), _identifiers(), _identifiers())
    return st.lists(decision, max_size=2).map(
        lambda rows: Rules(
            LIMITS, tuple(row for row in rows if row[1][1].strip("0 ") and row[2][1].strip("0 "))
        )
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Without shrinking: an example takes a third of a second.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
# A device is not known by the order of nobody.
@example(
    [
        File(
            "orders",
            FIRST,
            (
                {
                    "order_id": "o1",
                    "id_type": "phone",
                    "id": " ",
                    "device_id": "d1",
                    "ordered_at": dt.datetime.combine(FIRST, dt.time(3)),
                },
            ),
        )
    ],
    Rules(LIMITS),
    1,
)
@given(_files(), _rules(), st.integers(0, DAYS - 1))
def test_identity_equals_days_lived_one_by_one(files: list[File], rules: Rules, last: int) -> None:
    as_of = FIRST + dt.timedelta(days=last)
    history = History(files, rules)
    for number in range(last + 1):
        today = history.go_to(FIRST + dt.timedelta(days=number))
    warehouse = Warehouse.of(files, rules, as_of)

    # Identifiers are numbered in the order in which they became known, so numbers stay while days go on.
    order = warehouse.identifiers()
    assert order == history.order
    roots = {
        (kind, name): order[root - 1]
        for kind, name, root in warehouse.rows(
            "select id_type, id, root_identifier_key from int_identity__identifiers inner join int_identity__users "
            "using (user_id)"
        )
    }
    assert roots == {who: today.names[who] for who in today.current}

    counting = warehouse.rows(
        "select identifier_key_a, identifier_key_b, counts_from, counts_until from int_identity__links"
    )
    for day, found in history.days.items():
        links = {
            frozenset((order[a - 1], order[b - 1])) for a, b, begins, ends in counting if begins <= day < ends
        }
        assert links == found.links, day
    refused = warehouse.rows(
        "select identifier_key_a, identifier_key_b from int_identity__refused_links where refused_because = 'above_limit'"
    )
    assert {frozenset((order[a - 1], order[b - 1])) for a, b in refused} == today.stated - today.links

    renames = warehouse.rows(
        "select changed_on, old_key, new_key, kind, cause, identifier_key_a, identifier_key_b, identifiers "
        "from int_identity__renames"
    )
    assert {
        (day, order[old - 1], order[new - 1], kind) for day, old, new, kind, *_ in renames
    } == history.renames
    assert len(renames) == len(history.renames)
    for day, old, new, kind, cause, a, b, identifiers in renames:
        before, after = history.days[day - dt.timedelta(days=1)], history.days[day]
        pair = frozenset((order[a - 1], order[b - 1]))
        went = {
            who
            for who, name in before.names.items()
            if name == order[old - 1] and after.names[who] == order[new - 1]
        }
        assert len(went) == identifiers
        if kind == "merge":
            # What was new on the day and joined the user may be what the link starts from.
            assert pair & (went | (after.names.keys() - before.names.keys()))
            assert pair in after.links - before.links
            assert cause == ("limit_left" if pair in before.stated else "link_stated")
        else:
            assert pair & went
            assert pair in before.links - after.links
            assert cause == ("limit_passed" if pair in after.stated else "link_withdrawn")


# Which of several records that name an identifier is its witness may differ, as may the day on which a row was written; that
# there is one may not. Going forward two models hold what a day adds.
COMPARED = {
    model: "columns(lambda c: c not in ('witness', 'changed_on'))"
    for model in MODELS
    if model not in ("int_identity__reissued", "int_identity__sightings")
}


def _member(number: int, phone: int | None = None, device: int | None = None) -> dict[str, object]:
    return {
        "member_id": f"m{number}",
        "registered_at": _NOON,
        "phone": None if phone is None else f"1380000000{phone}",
        "device_id": None if device is None else f"d{device}",
    }


def _bought(by: int, device: int | None = None) -> dict[str, object]:
    where = None if device is None else f"d{device}"
    return {"order_id": "o1", "id_type": "buyer_id", "id": f"b{by}", "device_id": where, "ordered_at": _NOON}


def _on(day: int, table: str, *rows: dict[str, object], path: str | None = None) -> File:
    return File(table, FIRST + dt.timedelta(days=day), rows, path)


_NOON = dt.datetime.combine(FIRST, dt.time(4))
_ALL = "snapshot.csv"
_WITHOUT_RULES = Rules(LIMITS)


# An order changes its buyer and device; a refund its buyer.
@example([_on(0, "orders", _bought(0, 0)), _on(3, "orders", _bought(1, 1))], _WITHOUT_RULES, {1, 3, 4})
@example(
    [
        _on(0, "refunds", {"refund_id": "r1", "id_type": "buyer_id", "id": "b0", "refunded_at": _NOON}),
        _on(3, "refunds", {"refund_id": "r1", "id_type": "buyer_id", "id": "b1", "refunded_at": _NOON}),
    ],
    _WITHOUT_RULES,
    {1, 3},
)
# A snapshot lacks members and a phone; a snapshot lacks a version, and the one before counts again.
@example(
    [
        _on(0, "members", _member(0, phone=0), _member(1, device=1), _member(2), path=_ALL),
        _on(3, "members", _member(0, phone=1), path=_ALL),
    ],
    _WITHOUT_RULES,
    {1, 3, 5},
)
@example(
    [
        _on(0, "members", _member(0, phone=0)),
        _on(1, "members", _member(0, phone=1), path=_ALL),
        _on(3, "members", path=_ALL),
    ],
    _WITHOUT_RULES,
    {0, 1, 2, 3},
)
@example(
    [
        _on(1, "members", _member(0, phone=0)),
        _on(1, "members", _member(0, phone=1), path=_ALL),
        _on(3, "members", path=_ALL),
    ],
    _WITHOUT_RULES,
    {2, 3},
)
# A device gets a member too many, and loses it.
@example(
    [
        _on(0, "members", _member(0, device=0), _member(1, device=0)),
        _on(2, "members", _member(2, device=0)),
        _on(4, "members", _member(2, device=1)),
    ],
    _WITHOUT_RULES,
    {1, 2, 3, 4},
)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(_files(), _rules(), st.sets(st.integers(0, DAYS - 1), min_size=1))
def test_going_from_day_to_day_equals_everything_built_anew(
    files: list[File], rules: Rules, visited: set[int]
) -> None:
    running: Warehouse | None = None
    since = FIRST
    for number in sorted(visited):
        as_of = FIRST + dt.timedelta(days=number)
        if running is None:
            running = Warehouse.of(files, rules, as_of)
        else:
            running.advance(files, since, as_of)
            anew = Warehouse.of(files, rules, as_of)
            for model, columns in COMPARED.items():
                query = f"select {columns} from {model} order by all"
                assert running.rows(query) == anew.rows(query), model
        since = as_of
