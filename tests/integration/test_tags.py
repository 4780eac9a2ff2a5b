"""Tags on the small simulated brand: every category works, the history adds up, messages feed interests back."""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.specs.tags import CATEGORY_LABELS
from tests.command import ask


def test_every_category_has_at_least_five_working_tags(small_home: Path) -> None:
    working = dict(
        ask(
            small_home,
            "select category, count(distinct tag) from user_tags join tag_definitions using (tag) group by 1",
        )
    )
    assert working.keys() == CATEGORY_LABELS.keys()
    assert min(working.values()) >= 5, working
    types = ask(small_home, "select distinct value_type from tag_definitions join user_tags using (tag)")
    assert {kind for (kind,) in types} >= {"boolean", "enum", "number", "date"}


def test_why_somebody_has_a_tag_is_one_join(small_home: Path) -> None:
    unexplained = """
        select user_tags.tag from user_tags left join tag_definitions using (tag)
        where rule is null or source = '' or evidence_count is null or last_confirmed_at is null
            or (last_activity is null) = (source in ('activities, surveys', 'surveys', 'manual_tags'))
    """
    assert ask(small_home, unexplained) == []


def test_answers_to_messages_are_part_of_interests(small_home: Path) -> None:
    ((fed_back,),) = ask(
        small_home,
        "select count(*) from user_interests where last_activity like 'touch_%' and tag = 'topic_interest'",
    )
    assert fed_back > 0


def test_the_tag_is_the_first_interest_and_shares_add_up(small_home: Path) -> None:
    differing = """
        with firsts as (select user_id, tag, value, weight from user_interests where place = 1),
        tagged as (
            select user_id, tag, value, weight from user_tags
            where tag in (select tag from tag_definitions where source = 'activities, surveys')
        )
        select * from (from firsts except from tagged) union all (from tagged except from firsts)
    """
    assert ask(small_home, differing) == []
    assert (
        ask(small_home, "select tag from user_interests group by user_id, tag having sum(share) > 1 + 1e-9")
        == []
    )


def test_the_history_leads_from_yesterday_to_today(small_home: Path) -> None:
    # Two days are held: what was set yesterday, and came and went since, is what is set today.
    moves = ask(
        small_home,
        """
        select tag, count(*) filter (change = 'set') - count(*) filter (change in ('cleared', 'expired')) as net
        from user_tag_history where as_of_date = (select as_of_date from publication) group by tag order by tag
        """,
    )
    assert len(moves) > 10
    health = dict(ask(small_home, "select tag, set_count - carriers_count from tag_health"))
    assert {tag: net for tag, net in moves if net} == {tag: net for tag, net in health.items() if net}


def test_who_turned_to_another_style_carries_it(small_home: Path) -> None:
    """The simulator writes down who changed taste and when; weeks later the fading tag has followed."""
    truth = small_home.parent / "landing" / "_truth"
    with duckdb.connect(str(small_home / "warehouse" / "warehouse.duckdb"), read_only=True) as warehouse:
        counted = dict(
            warehouse.execute(f"""
                with turned as (
                    select distinct lookup.user_id, from_style, to_style
                    from '{truth}/style_switch.parquet' as switches
                    join '{truth}/persons.parquet' as persons using (person)
                    join intermediate.int_identity__lookup as lookup using (id_type, id)
                    where not is_shared and not is_mistyped
                )
                select case tags.value when to_style then 'new' when from_style then 'old' else 'other' end, count(*)
                from turned join marts.user_tags as tags using (user_id)
                where tags.tag = 'style_interest' group by 1
            """).fetchall()
        )
    assert counted["new"] >= 10
    assert counted["new"] >= 2 * counted.get("old", 0), counted


def test_the_next_category_is_right_more_often_than_the_most_bought_one(small_home: Path) -> None:
    ((customers, hits, baseline_hits),) = ask(
        small_home,
        "select cast(sum(customers_count) as bigint), cast(sum(hits_count) as bigint), "
        "cast(sum(baseline_hits_count) as bigint) from next_category_hits",
    )
    assert customers >= 30
    assert hits >= 1.3 * baseline_hits
    # Not evaluable is not the same as not set: nobody has been judged and not got it.
    assert ask(
        small_home,
        "select not_set_count, set_count = (select count(next_category) from user_wide), not_evaluable_count > 0 "
        "from tag_coverage where tag = 'next_category'",
    ) == [(0, True, True)]
