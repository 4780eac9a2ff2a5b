"""Funnel specs: what is refused, with which sentence at which line; what follows from a valid one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import SpecError, read_document
from orchestration.specs.funnel_kind import funnel_files
from orchestration.specs.funnels import Funnel, read_funnel, window_seconds

HEAD = """\
name: shop
title: {zh: 商城, en: Shop}
owner: growth
description: From looking to buying.
steps:
  - {name: view, label: {zh: 浏览, en: View}, activity: view}
  - {name: cart, label: {zh: 加购, en: Cart}, activity: cart}
  - {name: buy, label: {zh: 购买, en: Buy}, activity: [buy, order_paid]}
"""
WIDE = {"city": Column("city", ValueType.TEXT, "varchar", "City")}


def read(tmp_path: Path, text: str) -> Funnel:
    file = tmp_path / "shop.yml"
    file.write_text(text, encoding="utf-8")
    return read_funnel(read_document(file, "shop.yml"), WIDE)


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(SpecError) as refused:
        read(tmp_path, text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("rest", "line", "sentence"),
    [
        ("", 1, "needs either window or windows"),
        ("window: 7d\nwindows: [1d]\n", 9, "needs either window or windows"),
        ("window: a week\n", 9, "'a week' is no window; write 30m, 36h, 7d"),
        ("window: 0d\n", 9, "is no window"),
        ("window: 4000d\n", 9, "is no window"),
        ("windows: [7d, 168h]\n", 9, "window 168h is given twice"),
        ("window: 7d\norder: sorted\n", 10, "order cannot be 'sorted'; "),
        ("window: 7d\norder: any_order\nstrict_increase: true\n", 11, "strict_increase needs an order"),
        (
            "window: 7d\norder: strict\nexclusion:\n  - {between: [cart, buy], activity: x}\n",
            11,
            "does not go with strict",
        ),
        ("window: 7d\nexclusion:\n  - {between: [cart, pay], activity: x}\n", 11, "there is no step 'pay'; "),
        (
            "window: 7d\nexclusion:\n  - {between: [buy, cart], activity: x}\n",
            11,
            "an earlier and a later step",
        ),
        ("window: 7d\nexclusion:\n  - {between: [cart], activity: x}\n", 11, "at least 2 entries"),
        (
            "window: 7d\nhold_constant: product\n",
            10,
            "hold_constant cannot be 'product'; did you mean 'product_id'?",
        ),
        ("window: 7d\nhold_constant: amount\n", 10, "hold_constant cannot be 'amount'"),
        ("window: 7d\nperiod: [year]\n", 10, "cannot be 'year'"),
        ("window: 7d\nbreakdown:\n  - {column: town}\n", 11, "there is no column 'town'; "),
        ("window: 7d\nbreakdown:\n  - {column: channel, step: pay}\n", 11, "there is no step 'pay'"),
        ("window: 7d\nbreakdown:\n  - {column: city, step: first}\n", 11, "there is no column 'city'"),
        (
            "window: 7d\nbreakdown:\n  - {column: city}\n  - {column: city}\n",
            12,
            "breakdown city is given twice",
        ),
        (
            "window: 7d\norder: any_order\nbreakdown:\n  - {column: channel, step: first}\n",
            12,
            "with any_order",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, rest: str, line: int, sentence: str) -> None:
    said = problems(tmp_path, HEAD + rest)
    assert said.startswith(f"shop.yml:{line}: "), said
    assert sentence in said


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("{name: view, label: {zh: 看, en: See}, activity: see}", "step view is named twice"),
        ("{name: see, label: {zh: 看, en: See}, activity: See It}", "'See It' is no activity"),
        (
            "{name: see, label: {zh: 看, en: See}, activity: see, where: {column: colour, eq: red}}",
            "no column 'colour'",
        ),
        (
            "{name: see, label: {zh: 看, en: See}, activity: see, where: {column: channel, gt: 3}}",
            "gt does not work on",
        ),
        (
            "{name: see, label: {zh: 看, en: See}, activity: see, where: {tag: vip}}",
            "a tag cannot be named here",
        ),
    ],
)
def test_a_wrong_step_is_said_with_its_line(tmp_path: Path, step: str, sentence: str) -> None:
    said = problems(tmp_path, f"{HEAD}  - {step}\nwindow: 7d\n")
    assert said.startswith("shop.yml:9: "), said
    assert sentence in said


def test_a_file_holds_all_its_problems(tmp_path: Path) -> None:
    said = problems(tmp_path, f"{HEAD}window: soon\nhold_constant: nothing\n")
    assert len(said.splitlines()) == 2


def test_windows_name_their_funnels(tmp_path: Path) -> None:
    funnel = read(tmp_path, HEAD + "windows: [30m, 36h, 7d, none]\n")
    assert [(window.funnel, window.seconds) for window in funnel.windows] == [
        ("shop_30m", 1800),
        ("shop_36h", 129_600),
        ("shop_7d", 604_800),
        ("shop_unlimited", None),
    ]
    assert [window.funnel for window in read(tmp_path, HEAD + "window: none\n").windows] == ["shop"]


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "07d", "7D", "7 d", "1.5d", "99999999999d", "7d\n"])
def test_a_window_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match="no window"):
        window_seconds(text)


@pytest.mark.parametrize(
    ("rest", "streams"),
    [
        ("", True),
        ("strict_increase: true\n", True),
        ("order: strict\n", False),
        ("order: any_order\n", False),
        ("exclusion:\n  - {between: [cart, buy], activity: x}\n", False),
    ],
)
def test_the_fast_form_is_taken_where_it_is_exact(tmp_path: Path, rest: str, streams: bool) -> None:
    assert read(tmp_path, HEAD + "window: 7d\n" + rest).streams is streams


def test_steps_that_share_an_activity_overlap(tmp_path: Path) -> None:
    again = "  - {name: again, label: {zh: 复购, en: Again}, activity: order_paid}\n"
    funnel = read(tmp_path, HEAD + again + "window: 7d\n")
    assert not funnel.streams
    assert funnel.overlaps == (frozenset({3, 4}),)
    assert funnel.overlapping_sets(range(1, 5)) == [(1,), (2,), (3,), (4,), (3, 4)]
    assert funnel.overlapping_sets((2, 3)) == [(2,), (3,)]
    five = "".join(again.replace("again", f"again{number}") for number in range(4))
    assert "5 steps share activities; at most 4" in problems(tmp_path, HEAD + five + "window: 7d\n")


def test_the_entry_unit_serves_all_periods(tmp_path: Path) -> None:
    for rest, unit in {
        "": "all",
        "period: [all, month]\n": "month",
        "period: [week]\n": "week",
        "period: [month, week]\n": "day",
        "entry: per_day\n": "day",
    }.items():
        assert read(tmp_path, HEAD + "window: 7d\n" + rest).entry_unit == unit


def test_a_text_cannot_leave_its_literal(tmp_path: Path) -> None:
    hostile = HEAD.replace("From looking to buying.", "\"it's -- 'x'; drop table users\"")
    files = funnel_files([read(tmp_path, hostile + "window: 7d\n")])
    assert "'it''s -- ''x''; drop table users'" in files["dbt_project/models/marts/funnels/funnel_steps.sql"]


def test_no_funnel_leaves_empty_models_with_all_columns() -> None:
    files = funnel_files([])
    assert "breakdown_4" in files["dbt_project/models/intermediate/funnels/int_funnels__entries.sql"]
    assert "where false" in files["dbt_project/models/marts/funnels/funnel_steps.sql"]
