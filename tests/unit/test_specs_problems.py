"""What is wrong in a spec is said in one sentence with file and line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR
from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import MAX_FILE_BYTES, SpecError
from orchestration.specs.loader import load_project

COLUMNS = {
    column.name: column
    for column in (
        Column("user_id", ValueType.TEXT, "varchar", ""),
        Column("orders_count", ValueType.NUMBER, "bigint", ""),
        Column("net_amount", ValueType.NUMBER, "decimal(18,4)", ""),
        Column("city", ValueType.TEXT, "varchar", ""),
        Column("rfm_cell", ValueType.TEXT, "varchar", "", ("important_value", "important_keep", "no_order")),
        Column("is_contact", ValueType.BOOLEAN, "boolean", ""),
        Column("last_order_date", ValueType.DATE, "date", ""),
        Column("last_cart_at", ValueType.MOMENT, "timestamp", ""),
    )
}

AUDIENCE = """\
audience: spring
title: {zh: 春, en: Spring}
owner: crm
description: A test.
who:
  all:
    - {column: orders_count, gte: 2}
    - not: {tag: big}
suppress:
  blocked: {column: is_contact, eq: false}
limit: 10
rank_by:
  - {column: net_amount}
holdout: {percent: 10}
export:
  columns: [city]
  tags: [level]
  identifiers: [phone]
expires_on: 2026-12-31
"""

FAMILY = """\
family: money
title: {zh: 钱, en: Money}
category: consumption
owner: crm
tags:
  - tag: big
    title: {zh: 大, en: Big}
    description: Spent much.
    when: {column: net_amount, gte: 100}
  - tag: level
    title: {zh: 级, en: Level}
    description: How much.
    cases:
      - {value: high, title: {zh: 高, en: High}, when: {column: net_amount, gte: 100}}
      - {value: low, title: {zh: 低, en: Low}, when: {column: net_amount, gt: 0}}
    confirmed_by: last_order_date
    validity_days: 30
  - tag: idea
    title: {zh: 想, en: Idea}
    description: Not yet computed.
    when: {column: city, eq: x}
    status: draft
"""


@pytest.fixture
def dbt_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "dbt_project"
    for kind, name, text in (("audiences", "spring", AUDIENCE), ("tags", "money", FAMILY)):
        file = folder / "specs" / kind / f"{name}.yml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return folder


def refusal(dbt_dir: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_project(dbt_dir, columns=COLUMNS)
    assert caught.value.exit_status == 2
    assert "\n".join(map(str, caught.value.problems)) == str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_the_untouched_specs_are_fine(dbt_dir: Path) -> None:
    project = load_project(dbt_dir, columns=COLUMNS)
    assert {kind: len(entries) for kind, entries in project.loaded.items() if entries} == {
        "tags": 1,
        "audiences": 1,
    }


AUDIENCE_MISTAKES = {
    "unknown column": (
        "column: orders_count",
        "column: order_count",
        7,
        "there is no column 'order_count' in user_wide; did you mean 'orders_count'?",
    ),
    "unknown operator": ("gte: 2", "gt_e: 2", 7, "there is no operator 'gt_e'; did you mean"),
    "text for a number": (
        "gte: 2",
        'gte: "2"',
        7,
        "column orders_count is a number, so '2' cannot be compared with it; write a number without quotes.",
    ),
    "order on text": (
        "{column: orders_count, gte: 2}",
        "{column: city, gte: 2}",
        7,
        "gte does not work on column city, which is text; allowed: eq, ne, in, contains, is_null.",
    ),
    "number for text": (
        "{column: orders_count, gte: 2}",
        "{column: city, eq: 571}",
        7,
        "in quotes if it looks like a number",
    ),
    "value that never occurs": (
        "{column: orders_count, gte: 2}",
        "{column: rfm_cell, eq: important_valeu}",
        7,
        "column rfm_cell is never 'important_valeu'; did you mean 'important_value'?",
    ),
    "boolean with yes": (
        "eq: false",
        "eq: no",
        10,
        "column is_contact is true or false, so 'no' cannot be compared with it",
    ),
    "date that is none": (
        "{column: orders_count, gte: 2}",
        "{column: last_order_date, gte: 2026-02-30}",
        7,
        "'2026-02-30' is no day; write YYYY-MM-DD.",
    ),
    "moment": (
        "{column: orders_count, gte: 2}",
        "{column: last_cart_at, gte: 2026-02-01}",
        7,
        "gte does not work on column last_cart_at, which is a moment (compare a day",
    ),
    "reversed range": ("gte: 2", "between: [5, 2]", 7, "between 5 and 2 holds for nobody"),
    "half a range": ("gte: 2", "between: [5]", 7, "between needs two values"),
    "empty list": ("gte: 2", "in: []", 7, "in needs a list with at least one value"),
    "same value twice": ("gte: 2", "in: [2, 3, 2]", 7, "2 is listed twice."),
    "two operators": ("gte: 2", "gte: 2, lt: 5", 7, "one condition has one operator"),
    "no operator": (", gte: 2", "", 7, "column orders_count needs an operator"),
    "within days of a number": (
        "gte: 2",
        "within_days: 7",
        7,
        "within_days does not work on column orders_count",
    ),
    "null": ("gte: 2", "gte: ~", 7, "so empty cannot be compared with it"),
    "unknown tag": ("{tag: big}", "{tag: bigg}", 8, "there is no active tag 'bigg'; did you mean 'big'?"),
    "draft tag": ("{tag: big}", "{tag: idea}", 8, "there is no active tag 'idea'"),
    "operator on a yes/no tag": ("{tag: big}", "{tag: big, eq: true}", 8, "tag big is either set or not"),
    "value a tag never has": (
        "{tag: big}",
        "{tag: level, eq: hihg}",
        8,
        "tag level is never 'hihg'; did you mean 'high'?",
    ),
    "unknown audience": (
        "{tag: big}",
        "{audience: sprint}",
        8,
        "there is no audience 'sprint'; did you mean 'spring'?",
    ),
    "itself": (
        "{tag: big}",
        "{audience: spring}",
        8,
        "audiences name each other in a circle: spring → spring",
    ),
    "guard without a bound": (
        "expires_on: 2026-12-31",
        "guard: {}",
        19,
        "a guard needs max_change_percent, min_members or max_members",
    ),
    "guard that nothing passes": (
        "expires_on: 2026-12-31",
        "guard: {min_members: 5, max_members: 4}",
        19,
        "min_members is above max_members",
    ),
    "guard without room": (
        "expires_on: 2026-12-31",
        "guard: {max_change_percent: 0}",
        19,
        "max_change_percent must be more than 0",
    ),
    "waterfall without a group": (
        "expires_on: 2026-12-31",
        "waterfall: {priority: 1}",
        19,
        "waterfall.group is missing",
    ),
    "unknown condition": (
        "{tag: big}",
        "{colum: x}",
        8,
        "there is no condition 'colum'; did you mean 'column'?",
    ),
    "no condition": ("{tag: big}", "big", 8, "'big' is no condition"),
    "sql": ("{tag: big}", "{sql: 1=1}", 8, "there is no condition 'sql'"),
    "all beside another": ("  all:", "  tag: big\n  all:", 6, "'tag' cannot stand beside 'all'"),
    "unknown field": ("owner: crm", "ownr: crm", 3, "there is no field 'ownr'; did you mean 'owner'?"),
    "missing field": ("owner: crm\n", "", 1, "owner is missing."),
    "missing label": ("en: Spring", "", 2, "title.en is missing."),
    "empty label": ("en: Spring", 'en: " "', 2, "title.en: must be one line of 1 to 80 characters."),
    "number for a label": ("en: Spring", "en: 5", 2, "title.en must be text; put it in quotes."),
    "unknown field in a part": (
        "holdout: {percent: 10}",
        "holdout: {share: 10}",
        14,
        "there is no field 'share'; allowed: percent, salt.",
    ),
    "holdout too large": ("percent: 10", "percent: 60", 14, "percent must be above 0 and at most 50"),
    "limit without ranking": ("rank_by:\n  - {column: net_amount}\n", "", 1, "a limit needs rank_by"),
    "limit of nothing": ("limit: 10", "limit: 0", 11, "limit must be at least 1."),
    "rank by text": (
        "- {column: net_amount}",
        "- {column: city}",
        13,
        "users cannot be ranked by city, which is text",
    ),
    "rank by nothing known": (
        "- {column: net_amount}",
        "- {column: net_amuont}",
        13,
        "did you mean 'net_amount'?",
    ),
    "unknown exported column": ("[city]", "[citi]", 16, "there is no column 'citi'; did you mean 'city'?"),
    "unknown exported tag": (
        "[level]",
        "[levle]",
        17,
        "there is no active tag 'levle'; did you mean 'level'?",
    ),
    "unknown identifier": ("[phone]", "[fone]", 18, "there is no identifier 'fone'; did you mean 'phone'?"),
    "not a list": ("[phone]", "phone", 18, "export.identifiers must be a list"),
    "no day": ("2026-12-31", "next year", 19, "expires_on: 'next year' is no day; write YYYY-MM-DD."),
    "bad name": ("audience: spring", "audience: Spring-1", 1, "'Spring-1' is no name"),
    "path as a name": ("audience: spring", "audience: ../../etc/x", 1, "'../../etc/x' is no name"),
    "other name than the file": (
        "audience: spring",
        "audience: summer",
        1,
        "declares 'summer'; name the file summer.yml",
    ),
    "bad reason": ("blocked:", "Blocked now:", 10, "is no name"),
}


@pytest.mark.parametrize("mistake", AUDIENCE_MISTAKES)
def test_a_mistake_in_an_audience_is_explained(dbt_dir: Path, mistake: str) -> None:
    old, new, line, sentence = AUDIENCE_MISTAKES[mistake]
    assert AUDIENCE.count(old) == 1
    (dbt_dir / "specs/audiences/spring.yml").write_text(AUDIENCE.replace(old, new))
    found = refusal(dbt_dir)
    assert len(found) == 1
    assert found[0].startswith(f"dbt_project/specs/audiences/spring.yml:{line}: ")
    assert sentence in found[0]
    assert found[0].endswith((".", "?"))


# --- activities, segments, funnels ---------------------------------------------------------------------------

FUNNEL = """\
name: shop
title: {zh: 商, en: Shop}
owner: crm
description: A test.
steps:
  - {name: view, label: {zh: 看, en: View}, activity: view}
  - {name: buy, label: {zh: 买, en: Buy}, activity: order_paid}
windows: [7d, none]
"""
SEGMENTS = """\
models:
  - name: user_layers
    config: {meta: {segments: {layer: tier}}}
    columns:
      - {name: user_id, data_type: varchar, data_tests: [unique]}
      - {name: tier, data_type: varchar, data_tests: [{accepted_values: {arguments: {values: [gold, grey]}}}]}
      - {name: score, data_type: integer}
"""


@pytest.fixture
def rich_dir(dbt_dir: Path) -> Path:
    """The specs with a funnel, a segmentation and a brand's own events."""
    for name, text in (
        ("specs/funnels/shop.yml", FUNNEL),
        ("models/layers.yml", SEGMENTS),
        ("../seeds/rules/event_names.csv", "event_name,activity\nadd_to_cart,cart\nv,view\n"),
    ):
        file = dbt_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return dbt_dir


CONDITIONS = {
    "unknown activity": ("{did: crat}", "there is no activity 'crat' in the input tables or seeds/rules/event_names.csv; did you mean 'cart'? An event of your own needs a row in that file, such as spin_wheel,spin_wheel."),
    "unknown activity in a list": ("{did: [cart, veiw]}", "did you mean 'view'?"),
    "activity twice": ("{did: [cart, cart]}", "'cart' is listed twice."),
    "no activity": ("{did: []}", "did needs at least one activity."),
    "unknown word": ("{did: cart, at_lest: 2}", "'at_lest' does not go with did; did you mean 'at_least'?"),
    "zero times": ("{did: cart, at_least: 0}", "at_least must be a whole number from 1 to 1000000."),
    "no number of days": ("{did: cart, within_days: week}", "within_days must be a whole number from 1 to 36500."),
    "times of never": ("{never_did: cart, at_least: 2}", "'at_least' does not go with never_did; allowed: where, within_days."),
    "wide column of an activity": ("{did: cart, where: {column: orders_count, gte: 1}}", "there is no column 'orders_count' in the activities; "),
    "tag of an activity": ("{did: cart, where: {tag: big}}", "a tag cannot be named here; where reads the columns of the activities."),
    "did in did": ("{did: cart, where: {did: view}}", "activities cannot be named here; where reads the columns of the activities."),
    "text for an amount": ("{did: order_paid, where: {column: amount, gte: '5'}}", "column amount is a number, so '5' cannot be compared with it"),
    "followed by itself": ("{did: cart, not_followed_by: cart}", "holds for nobody: nothing comes after the last of its own kind."),
    "last one several times": ("{did: cart, at_least: 2, not_followed_by: order_paid}", "at_least does not go with not_followed_by"),
    "sequence of one": ("{sequence: [cart]}", "sequence needs a list of 2 to 4 activities, such as [cart, order_paid]."),
    "sequence of a word": ("{sequence: cart}", "sequence needs a list"),
    "unknown step of a sequence": ("{sequence: [cart, order_pai]}", "did you mean 'order_paid'?"),
    "field of a step": ("{sequence: [cart, {activity: view, were: x}]}", "there is no field 'were' in a step; did you mean 'where'?"),
    "step without activity": ("{sequence: [cart, {where: {column: amount, gt: 1}}]}", "a step needs its activity."),
    "value without activities": ("{last: brand, eq: x}", "last needs of: the activities whose brand counts."),
    "unknown value": ("{first: colour, of: cart, eq: x}", "there is no value 'colour' of activities; "),
    "number as a value": ("{first: amount, of: cart, eq: x}", "there is no value 'amount' of activities; "),
    "value without operator": ("{most_frequent: brand, of: cart}", "most_frequent brand needs an operator: eq, ne, in, contains, is_null."),
    "operator on a value": ("{most_frequent: brand, of: cart, gte: x}", "gte does not work on value brand, which is text"),
    "top without places": ("{top: brand, of: cart, eq: x}", "top needs places: among how many of the most frequent values."),
    "top without value": ("{top: brand, places: 3, of: cart}", "top brand needs an operator: eq, in."),
    "top with another operator": ("{top: brand, places: 3, of: cart, contains: x}", "'contains' does not go with top; "),
    "unknown segment": ("{segment: layers, eq: gold}", "there is no segment 'layers'; did you mean 'layer'?"),
    "value a segment never has": ("{segment: layer, eq: gld}", "segment layer is never 'gld'; did you mean 'gold'?"),
    "unknown funnel": ("{funnel: shop, at_step: view}", "there is no funnel 'shop'; did you mean 'shop_7d'?"),
    "unknown step": ("{funnel: shop_7d, at_step: by}", "funnel shop_7d has no step 'by'; did you mean 'buy'?"),
    "no step": ("{funnel: shop_7d}", "funnel shop_7d needs at_step: one of view, buy."),
    "window over when": ("{funnel: shop_7d, at_step: view, window_over: later}", "window_over must be true or false."),
    "empty text": ("{column: city, contains: ''}", "contains needs a text of at least one character."),
    "contains on a number": ("{column: orders_count, contains: 5}", "contains does not work on column orders_count, which is a number"),
    "empty condition": ("", "the condition is empty; write one such as {column: orders_count, gte: 2}."),
    "range": ("{all: [{column: net_amount, gt: 5}, {column: net_amount, lt: 3}]}", "nobody can meet net_amount > 5 and net_amount < 3 at once; change one of them."),
    "range of whole numbers": ("{all: [{column: orders_count, gt: 5}, {column: orders_count, lt: 6}]}", "nobody can meet orders_count > 5 and orders_count < 6 at once"),
    "range with a hole": ("{all: [{column: orders_count, between: [5, 6]}, {column: orders_count, ne: 5}, {column: orders_count, ne: 6}]}", "nobody can meet orders_count from 5 to 6 and orders_count ≠ 5 and orders_count ≠ 6 at once"),
    "days apart": ("{all: [{column: last_order_date, lt: 2026-01-02}, {column: last_order_date, gt: 2026-01-01}]}", "nobody can meet last_order_date < 2026-01-02 and last_order_date > 2026-01-01 at once"),
    "two values": ("{all: [{column: city, eq: a}, {column: city, in: [b, c]}]}", "nobody can meet city = a and city in [b, c] at once"),
    "no value left": ("{all: [{segment: layer, ne: gold}, {segment: layer, ne: grey}]}", "nobody can meet segment layer ≠ gold and segment layer ≠ grey at once"),
    "empty and not": ("{all: [{column: city, is_null: true}, {column: city, eq: a}]}", "nobody can meet city is empty and city = a at once"),
    "true and false": ("{all: [{column: is_contact, eq: true}, {column: is_contact, ne: true}]}", "nobody can meet is_contact = true and is_contact ≠ true at once"),
    "did and never did": ("{all: [{did: cart}, {never_did: cart}]}", "nobody can meet not did cart and its opposite above at once."),
    "deep inside": ("{all: [{column: orders_count, gte: 3}, {all: [{column: orders_count, lt: 3}]}]}", "nobody can meet orders_count ≥ 3 and orders_count < 3 at once"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CONDITIONS)
def test_a_mistake_in_a_condition_is_explained(rich_dir: Path, mistake: str) -> None:
    condition, sentence = CONDITIONS[mistake]
    (rich_dir / "specs/audiences/spring.yml").write_text(AUDIENCE.replace("{tag: big}", condition))
    (found,) = refusal(rich_dir)
    assert found.startswith("dbt_project/specs/audiences/spring.yml:8: ")
    assert sentence in found
    assert found.endswith((".", "?"))


POSSIBLE = (
    "{all: [{column: net_amount, gt: 5}, {column: net_amount, lt: 6}]}",
    "{all: [{column: net_amount, gte: 5}, {column: net_amount, lte: 5}]}",
    "{all: [{column: orders_count, gt: 5}, {column: orders_count, lt: 7}]}",
    "{any: [{column: orders_count, gt: 5}, {column: orders_count, lt: 3}]}",
    "{all: [{column: last_order_date, lt: 2026-01-03}, {column: last_order_date, gt: 2026-01-01}]}",
    "{all: [{column: city, contains: a}, {column: city, ne: a}]}",
    "{all: [{column: city, is_null: true}, {column: city, is_null: true}]}",
    "{all: [{segment: layer, ne: gold}, {segment: layer, in: [gold, grey]}]}",
    "{all: [{did: cart}, {never_did: cart, within_days: 7}]}",
    "{did: [cart, view], at_least: 3, within_days: 30, where: {column: brand, in: [x]}}",
    "{sequence: [view, {activity: cart, where: {column: amount, gt: 1}}, order_paid], max_days_apart: 2}",
    "{funnel: shop_unlimited, at_step: view, within_days: 30, window_over: true}",
)


@pytest.mark.parametrize("condition", POSSIBLE)
def test_what_somebody_can_meet_is_taken(rich_dir: Path, condition: str) -> None:
    (rich_dir / "specs/audiences/spring.yml").write_text(AUDIENCE.replace("{tag: big}", condition))
    load_project(rich_dir, columns=COLUMNS)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "{layer: tier}",
            "{layer: tire}",
            "segment layer names column tire, which user_layers does not have.",
        ),
        (", data_tests: [unique]", "", "segment layer needs one row per user"),
        ("{layer: tier}", "{Layer: tier}", "is no name"),
    ],
)
def test_a_segmentation_that_cannot_be_used_is_explained(
    rich_dir: Path, old: str, new: str, sentence: str
) -> None:
    (rich_dir / "models/layers.yml").write_text(SEGMENTS.replace(old, new))
    with pytest.raises(UsageError, match=re.escape(sentence)):
        load_project(rich_dir, columns=COLUMNS)


def test_two_tables_cannot_declare_one_segmentation(rich_dir: Path) -> None:
    (rich_dir / "models/more.yml").write_text(SEGMENTS.replace("user_layers", "others"))
    with pytest.raises(UsageError, match="segment layer is declared by user_layers already"):
        load_project(rich_dir, columns=COLUMNS)


def test_two_files_cannot_declare_one_audience(dbt_dir: Path) -> None:
    (dbt_dir / "specs/audiences/spring.yaml").write_text(AUDIENCE)
    (found,) = refusal(dbt_dir)
    assert "'spring' is already declared in dbt_project/specs/audiences/spring.yaml:1." in found


TAG_MISTAKES = {
    "two rules": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    when: {column: net_amount, gte: 100}\n    column: city\n  - tag: level", 6, "tag big needs exactly one of when (a condition), cases (values in order), column (a column's value), interest (what activities are about), question (answer to a survey), by_hand (set by staff); given: when and column."),
    "no rule": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "  - tag: level", 6, "given: none."),
    "interest without floor": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    interest: {dimension: style, half_life_days: 30}\n  - tag: level", 9, "floor is missing"),
    "unknown dimension": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    interest: {dimension: stile, half_life_days: 30, floor: 1}\n  - tag: level", 9, "did you mean 'style'?"),
    "interest with days of its own": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    interest: {dimension: style, half_life_days: 30, floor: 1}\n    confirmed_by: last_order_date\n  - tag: level", 6, "tag big: confirmed_by does not go with interest"),
    "unknown parent": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    when: {column: net_amount, gte: 100}\n    parent: levle\n  - tag: level", 10, "parent: there is no tag 'levle'; did you mean 'level'?"),
    "its own parent": ("    when: {column: net_amount, gte: 100}\n  - tag: level", "    when: {column: net_amount, gte: 100}\n    parent: big\n  - tag: level", 10, "parent: big below big is a circle."),
    "same tag twice": ("tag: idea", "tag: big", 18, "tag 'big' is already declared in dbt_project/specs/tags/money.yml:6."),
    "same value twice": ("value: low", "value: high", 15, "value 'high' is listed twice."),
    "unreachable value": ("gt: 0", "gte: 100", 15, "value low can never be reached"),
    "missing label of a value": ("title: {zh: 低, en: Low}, ", "", 15, "title is missing."),
    "unknown category": ("category: consumption", "category: consumtion", 3, "category cannot be 'consumtion'; did you mean 'consumption'?"),
    "tag in a tag": ("{column: city, eq: x}", "{tag: big}", 21, "a tag cannot be named here"),
    "audience in a tag": ("{column: city, eq: x}", "{audience: spring}", 21, "an audience cannot be named here; the rule of a tag reads columns, segments, activities and funnels."),
    "confirmed by a number": ("confirmed_by: last_order_date", "confirmed_by: net_amount", 16, "confirmed_by needs a date column; net_amount is number."),
    "validity of nothing": ("    confirmed_by: last_order_date\n", "", 16, "validity_days needs confirmed_by"),
    "validity of text": ("validity_days: 30", "validity_days: month", 17, "validity_days must be a whole number."),
    "boolean column": ("    when: {column: city, eq: x}\n", "    column: is_contact\n", 21, "(for true or false write when)"),
    "unknown column to take": ("    when: {column: city, eq: x}\n", "    column: citty\n", 21, "did you mean 'city'?"),
    "values without labels": ("    when: {column: city, eq: x}\n", "    column: rfm_cell\n    values: [{value: no_order, title: {zh: 无, en: none}}]\n", 22, "column rfm_cell can be 'important_value', which has no label here."),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TAG_MISTAKES)
def test_a_mistake_in_a_tag_is_explained(dbt_dir: Path, mistake: str) -> None:
    old, new, line, sentence = TAG_MISTAKES[mistake]
    assert FAMILY.count(old) == 1
    (dbt_dir / "specs/tags/money.yml").write_text(FAMILY.replace(old, new))
    found = refusal(dbt_dir)
    assert any(
        text.startswith(f"dbt_project/specs/tags/money.yml:{line}: ") and sentence in text for text in found
    ), found


def nested(depth: int) -> str:
    return "audience: spring\nwho: " + "{not: " * depth + "{tag: big}" + "}" * depth + "\n"


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE = {
    "bomb": (BOMB.encode(), 1, "anchors (&) and aliases (*) are not allowed"),
    "python object": (
        b"audience: !!python/object/apply:os.system [ls]\n",
        1,
        "YAML tags (!) are not allowed",
    ),
    "tag": (b"audience: !!str spring\n", 1, "YAML tags (!) are not allowed"),
    "merge key": (b"audience: spring\n<<: {owner: crm}\n", 2, "there is no field '<<'"),
    "10 000 nested conditions": (nested(10_000).encode(), 2, "is nested deeper than 40 levels."),
    "10 000 nested lists": (b"audience: " + b"[" * 10_000, 1, "is nested deeper than 40 levels."),
    "10 000 conditions": (
        AUDIENCE.replace("{tag: big}", "{any: [" + "{tag: big}, " * 10_000 + "]}").encode(),
        8,
        "at most 200 conditions",
    ),
    "large": (b"# " + b"x" * MAX_FILE_BYTES, 1, "at most 256 KiB"),
    "repeated key": (b"audience: spring\naudience: spring\n", 2, "'audience' is given twice"),
    "repeated operator": (AUDIENCE.replace("gte: 2", "gte: 2, gte: 3").encode(), 7, "'gte' is given twice"),
    "two documents": (AUDIENCE.encode() + b"---\n" + AUDIENCE.encode(), 20, "a file holds one spec"),
    "template": (
        AUDIENCE.replace("A test.", "'{{ env_var(\"HOME\") }}'").encode(),
        4,
        "specs are no templates",
    ),
    "template block": (AUDIENCE.replace("A test.", "'{% do x %}'").encode(), 4, "specs are no templates"),
    "control character": (AUDIENCE.replace("A test.", '"a\\0b"').encode(), 4, "cannot be seen"),
    "turned text": (AUDIENCE.replace("A test.", '"a\\u202eb"').encode(), 4, "cannot be seen"),
    "raw control character": (AUDIENCE.replace("A test.", "a\x01b").encode(), 1, "is not valid YAML"),
    "not UTF-8": ("audience: spring\ntitle: 春\n".encode("gb18030"), 2, "is not UTF-8"),
    "broken YAML": (b"audience: spring\nwho: [\n", 3, "is not valid YAML"),
    "tabs": (b"audience: spring\nwho:\n\tall: []\n", 3, "is not valid YAML"),
    "empty": (b"", 1, "must hold fields and values"),
    "a list": (b"- audience\n", 1, "must hold fields and values"),
    "list as a key": (b"? [a, b]\n: x\n", 1, "must be a plain word"),
    "long number": (
        AUDIENCE.replace("gte: 2", "gte: 123456789012345678").encode(),
        7,
        "put an identifier in quotes",
    ),
    "SQL as a condition": (
        AUDIENCE.replace("{tag: big}", '{column: "1=1; drop table users", gte: 1}').encode(),
        8,
        "there is no column '1=1; drop table users'",
    ),
    "SQL as an operator": (
        AUDIENCE.replace("gte: 2", '"= 1 or 1": 2').encode(),
        7,
        "there is no operator '= 1 or 1'",
    ),
    "SQL as an activity": (
        AUDIENCE.replace("{tag: big}", '{did: "x\') or 1=1 --"}').encode(),
        8,
        "there is no activity",
    ),
    "SQL as a reason": (AUDIENCE.replace("blocked:", '"x\' or 1=1":').encode(), 10, "is no name"),
    "SQL as a limit": (
        AUDIENCE.replace("limit: 10", "limit: 10; drop table users").encode(),
        11,
        "limit must be a whole number",
    ),
    "SQL as a salt": (
        AUDIENCE.replace("{percent: 10}", '{percent: 10, salt: "x\' || y"}').encode(),
        14,
        "is no name",
    ),
    "path as a format": (
        AUDIENCE.replace("identifiers: [phone]", "formats: [../../etc/passwd]").encode(),
        18,
        "formats",
    ),
    "10 000 steps": (
        AUDIENCE.replace("{tag: big}", "{sequence: [" + "order_paid, " * 10_000 + "]}").encode(),
        8,
        "sequence needs a list of 2 to 4",
    ),
    "10 000 values": (
        AUDIENCE.replace("gte: 2", "in: [" + ", ".join(map(str, range(10_000))) + "]").encode(),
        7,
        "in takes at most 1000 values",
    ),
    "long text": (AUDIENCE.replace("A test.", "x" * 3000).encode(), 4, "at most 2000 characters"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_file_is_refused(dbt_dir: Path, attack: str) -> None:
    content, line, sentence = HOSTILE[attack]
    (dbt_dir / "specs/audiences/spring.yml").write_bytes(content)
    found = refusal(dbt_dir)
    assert any(
        re.match(rf"dbt_project/specs/audiences/spring\.yml:{line}: ", text) and sentence in text
        for text in found
    ), found


def test_links_are_not_followed(dbt_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yml"
    outside.write_text("audience: outside\n")
    (dbt_dir / "specs/audiences/outside.yml").symlink_to(outside)
    load_project(dbt_dir, columns=COLUMNS)


def test_a_circle_of_audiences_is_named(dbt_dir: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        text = AUDIENCE.replace("audience: spring", f"audience: {name}").replace(
            "{tag: big}", f"{{audience: {other}}}"
        )
        (dbt_dir / f"specs/audiences/{name}.yml").write_text(text)
    (found,) = refusal(dbt_dir)
    assert "audiences name each other in a circle: a → b → c → a" in found


def waterfall(dbt_dir: Path, **audiences: str) -> None:
    """Audiences of one group, each with its priority, and more lines of its own."""
    (dbt_dir / "specs/audiences/spring.yml").unlink()
    for name, more in audiences.items():
        text = AUDIENCE.replace("audience: spring", f"audience: {name}")
        (dbt_dir / f"specs/audiences/{name}.yml").write_text(text + more)


def test_two_audiences_of_a_waterfall_with_one_priority_are_refused(dbt_dir: Path) -> None:
    line = "waterfall: {{group: {}, priority: {}}}\n"
    waterfall(dbt_dir, a=line.format("push", 1), b=line.format("push", 2), c=line.format("push", 2))
    (found,) = refusal(dbt_dir)
    assert found == (
        "dbt_project/specs/audiences/c.yml:20: b has the priority 2 in the group push too; "
        "give each audience of a group its own."
    )
    (dbt_dir / "specs/audiences/c.yml").unlink()
    waterfall_other = AUDIENCE.replace("audience: spring", "audience: d") + line.format("mail", 2)
    (dbt_dir / "specs/audiences/d.yml").write_text(waterfall_other)
    load_project(dbt_dir, columns=COLUMNS)


def test_a_waterfall_against_its_own_order_is_a_circle(dbt_dir: Path) -> None:
    first = AUDIENCE.replace("{tag: big}", "{audience: b}").split("\n", 1)[1]
    waterfall(dbt_dir, b="waterfall: {group: push, priority: 2}\n")
    (dbt_dir / "specs/audiences/a.yml").write_text(
        "audience: a\n" + first + "waterfall: {group: push, priority: 1}\n"
    )
    (found,) = refusal(dbt_dir)
    assert "audiences name each other in a circle: a → b → a; remove one" in found


def test_a_reason_of_the_waterfall_cannot_be_declared(dbt_dir: Path) -> None:
    waterfall(
        dbt_dir,
        a="waterfall: {group: push, priority: 1}\n",
        b="waterfall: {group: push, priority: 2}\n",
    )
    file = dbt_dir / "specs/audiences/b.yml"
    file.write_text(file.read_text().replace("  blocked:", "  placed_in_a:"))
    (found,) = refusal(dbt_dir)
    assert found.startswith(
        "dbt_project/specs/audiences/b.yml:10: the waterfall gives the reason placed_in_a"
    )


def test_all_problems_are_told_at_once(dbt_dir: Path) -> None:
    (dbt_dir / "specs/audiences/spring.yml").write_text(
        AUDIENCE.replace("owner: crm", "owner: ''").replace("limit: 10", "limit: ten")
    )
    (dbt_dir / "specs/tags/money.yml").write_text(FAMILY.replace("owner: crm", "owner: 5"))
    assert len(refusal(dbt_dir)) == 3


def test_numbers_and_texts_are_read_as_written(dbt_dir: Path) -> None:
    from orchestration.specs.documents import read_document

    file = dbt_dir / "x.yml"
    file.write_text(
        'a: [007, 1_000, 1e3, 0x1f, yes, 12:30, 2026-01-31, .inf, "5", 5, -2.50, true, ~, =1+1]\n'
    )
    from decimal import Decimal

    assert read_document(file, "x.yml").data["a"] == (
        *("007", "1_000", "1e3", "0x1f", "yes", "12:30", "2026-01-31", ".inf", "5"),
        *(5, Decimal("-2.50"), True, None, "=1+1"),
    )


def test_a_brand_may_declare_types_of_identifiers(dbt_dir: Path) -> None:
    file = dbt_dir / "specs/audiences/spring.yml"
    file.write_text(AUDIENCE.replace("[phone]", "[card_number]"))
    assert "there is no identifier 'card_number'" in refusal(dbt_dir)[0]
    types = dbt_dir.parent / "seeds/rules/identifier_types.csv"
    types.parent.mkdir(parents=True)
    types.write_text("id_type,priority,max_linked\ncard_number,1,5\n*,99,20\n")
    load_project(dbt_dir, columns=COLUMNS)


def test_rules_and_funnels_name_only_activities_that_something_brings(tmp_path: Path) -> None:
    project = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR / "specs", project / "specs")
    shutil.copytree(DBT_PROJECT_DIR / "models", project / "models", ignore=shutil.ignore_patterns("*.sql"))
    shutil.copytree(DBT_PROJECT_DIR.parent / "seeds", tmp_path / "seeds")
    load_project(project)  # what is shipped names nothing else
    funnel = project / "specs/funnels/live_to_order.yml"
    funnel.write_text(funnel.read_text().replace("activity: live_enter", "activity: spin_whel"))
    rules = tmp_path / "seeds/rules"
    with (rules / "aipl_behaviours.csv").open("a") as lines:
        lines.write("interest,activity,serch,15,1\n")
    with (rules / "interest_strengths.csv").open("a") as lines:
        lines.write("spin_wheel,2\n")
    with (rules / "passive_activities.csv").open("a") as lines:
        lines.write("touch_bounced,nobody\n")
    with pytest.raises(SpecError) as refused:
        load_project(project)
    row = "An event of your own needs a row in that file, such as spin_wheel,spin_wheel."
    places = {str(problem).split(": ")[0]: problem.text for problem in refused.value.problems}
    assert set(places) == {
        "dbt_project/specs/funnels/live_to_order.yml:8",
        f"seeds/rules/aipl_behaviours.csv:{len((rules / 'aipl_behaviours.csv').read_text().splitlines())}",
        f"seeds/rules/interest_strengths.csv:{len((rules / 'interest_strengths.csv').read_text().splitlines())}",
        f"seeds/rules/passive_activities.csv:{len((rules / 'passive_activities.csv').read_text().splitlines())}",
    }
    assert all(text.endswith(row) for text in places.values())
    assert any(
        "no activity 'serch' in" in text and "did you mean 'search'?" in text for text in places.values()
    )
    # The brand's own event, once it is declared.
    (rules / "aipl_behaviours.csv").write_text("stage,kind,behaviour,window_days,least_days\n")
    (rules / "passive_activities.csv").unlink()
    with (rules / "event_names.csv").open("a") as lines:
        lines.write("Spin_Wheel,spin_wheel\nspin_whel,spin_whel\n")
    assert "spin_wheel" in load_project(project).activities
