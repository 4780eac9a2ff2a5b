"""The files a marketer edits: what is wrong in them is said in one sentence with its line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestration.home import SEEDS_DIR
from orchestration.specs.contact_rules import contact_problems, read_contact_rules
from orchestration.specs.documents import SpecError

RULES = "channel,purpose,disturbs,without_consent,needs_contact,quiet_from,quiet_until,cool_down_days,content_repeat_days"
CAPS = "cap,channel,purpose,period,days,max_sends"
SHANGHAI = ZoneInfo("Asia/Shanghai")


def seeds(folder: Path, rules: str = "", caps: str = "") -> Path:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules/contact_rules.csv").write_text(f"{RULES}\n{rules}")
    (folder / "rules/contact_caps.csv").write_text(f"{CAPS}\n{caps}")
    return folder


def test_the_bundled_rules_are_right() -> None:
    assert contact_problems() == []
    rules = read_contact_rules(SEEDS_DIR)
    assert rules.rule("wecom", "marketing").needs_contact
    assert not rules.rule("tags", "service").disturbs
    # Without a statement: service yes, marketing no.
    assert rules.rule("letter", "service").without_consent == "allowed"
    assert rules.rule("letter", "marketing").without_consent == "refused"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("SMS,marketing,true,refused,false,,,,", "channel 'SMS' is none; write it in lower case"),
        ("sms,adverts,true,refused,false,,,,", "purpose 'adverts' is none; write marketing, service"),
        ("sms,marketing,yes,refused,false,,,,", "disturbs 'yes' is neither true nor false"),
        ("sms,marketing,true,no,false,,,,", "without_consent 'no' is neither allowed nor refused"),
        ("sms,marketing,true,refused,false,9:00,21:00,,", "quiet_from '9:00' is no time of day"),
        ("sms,marketing,true,refused,false,24:00,09:00,,", "quiet_from '24:00' is no time of day"),
        ("sms,marketing,true,refused,false,21:00,,,", "give both, or leave both empty"),
        ("sms,marketing,true,refused,false,21:00,21:00,,", "nothing could ever be sent"),
        ("sms,marketing,true,refused,false,,,-1,", "cool_down_days '-1' is no whole number from 0 on"),
        ("sms,marketing,true,refused,false,,,,1.5", "content_repeat_days '1.5' is no whole number"),
    ],
)
def test_a_slip_in_the_rules_is_one_sentence(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_contact_rules(seeds(tmp_path, f"*,*,true,allowed,false,,,,\n{row}\n"))
    assert sentence.replace("'", '"') in str(raised.value).replace("'", '"')
    assert "seeds/rules/contact_rules.csv:3:" in str(raised.value)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (",sms,marketing,rolling,1,1", "The cap has no name"),
        ("a,sms,marketing,daily,,1", "period 'daily' is none"),
        ("a,sms,marketing,rolling,,1", "days belongs to rolling periods"),
        ("a,sms,marketing,week,7,1", "days belongs to rolling periods"),
        ("a,sms,marketing,rolling,0,1", "days '0' is no whole number from 1 on"),
        ("a,sms,marketing,week,,0", "max_sends '0' is no whole number from 1 on"),
        ("a,sms,marketing,week,,", "max_sends is empty"),
        ("first,sms,marketing,week,,1", "cap 'first' stand in line 2 already"),
    ],
)
def test_a_slip_in_the_caps_is_one_sentence(tmp_path: Path, row: str, sentence: str) -> None:
    (problem,) = contact_problems(seeds(tmp_path, caps=f"first,sms,*,month,,\n{row}\n"))
    assert sentence.replace("'", '"') in str(problem).replace("'", '"')
    assert (problem.file, problem.line) == ("seeds/rules/contact_caps.csv", 3)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/contact_caps.csv").write_text("cap,channel,purpose,period,days\na,sms,*,month,\n")
    (problem,) = contact_problems(tmp_path)
    assert "The column max_sends is missing" in str(problem)


@pytest.mark.parametrize(
    ("local", "until"),
    [
        ("2026-07-01T20:59:59", None),
        ("2026-07-01T21:00:00", "2026-07-02T09:00:00"),
        ("2026-07-01T23:59:59", "2026-07-02T09:00:00"),
        ("2026-07-02T00:00:00", "2026-07-02T09:00:00"),
        ("2026-07-02T08:59:59", "2026-07-02T09:00:00"),
        ("2026-07-02T09:00:00", None),
    ],
)
def test_quiet_hours_end_on_the_right_day(tmp_path: Path, local: str, until: str | None) -> None:
    rules = read_contact_rules(seeds(tmp_path, "*,*,true,allowed,false,21:00,09:00,,\n"))
    at = dt.datetime.fromisoformat(local).replace(tzinfo=SHANGHAI)
    end = rules.quiet_until("sms", "marketing", at.astimezone(dt.UTC), SHANGHAI)
    assert end == (until and dt.datetime.fromisoformat(until).replace(tzinfo=SHANGHAI))


def test_the_most_specific_rule_counts(tmp_path: Path) -> None:
    lines = [
        "*,*,true,allowed,false,,,,",
        "*,marketing,true,refused,false,,,,",
        "sms,*,false,refused,false,,,,",
        "sms,service,true,allowed,true,,,,",
    ]
    for order in (lines, lines[::-1]):
        rules = read_contact_rules(seeds(tmp_path, "\n".join(order) + "\n"))
        assert rules.rule("email", "service").without_consent == "allowed"
        assert rules.rule("email", "marketing").without_consent == "refused"
        assert not rules.rule("SMS", "marketing").disturbs
        assert rules.rule("sms", "service").needs_contact
