"""Sizes, movements and overlaps of audiences in the published marts, and the guard that holds files back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.command import ask, jingxi

AS_OF = "2026-06-30"
GUARDED = "dormant_customers"


def test_metrics_follow_from_the_memberships(small_home: Path) -> None:
    metrics = {
        (audience, day): numbers
        for audience, day, *numbers in ask(
            small_home,
            "select audience, as_of_date::varchar, previous_members_count, entered_count, left_count, members_count "
            "from audience_metrics",
        )
    }
    members: dict[tuple[str, str], set[str]] = {key: set() for key in metrics}
    for audience, user, day in ask(
        small_home, "select audience, user_id, as_of_date::varchar from audience_history"
    ):
        members[audience, day].add(user)
    audiences = {audience for audience, _ in metrics}
    assert len(metrics) == 2 * len(audiences)
    for audience in audiences:
        before, today = members[audience, "2026-06-29"], members[audience, AS_OF]
        assert metrics[audience, "2026-06-29"] == [None, None, None, len(before)]
        assert metrics[audience, AS_OF] == [
            len(before),
            len(today - before),
            len(before - today),
            len(today),
        ]
    assert any(numbers[1] for numbers in metrics.values())
    assert any(numbers[2] for numbers in metrics.values())


def test_overlap_follows_from_the_memberships(small_home: Path) -> None:
    members: dict[str, set[str]] = {
        audience: set() for (audience,) in ask(small_home, "select audience from audience_definitions")
    }
    for audience, user in ask(small_home, "select audience, user_id from audience_members"):
        members[audience].add(user)
    pairs = ask(
        small_home,
        "select audience, other_audience, members_count, other_members_count, both_count from audience_overlap",
    )
    expected = {
        (one, other, len(members[one]), len(members[other]), len(members[one] & members[other]))
        for one in members
        for other in members
        if one < other
    }
    assert set(pairs) == expected
    assert len(pairs) == len(expected)
    assert any(row[-1] for row in pairs)
    waterfall = {"important_winback", "second_order", "dormant_customers"}
    assert all(row[-1] == 0 for row in pairs if {row[0], row[1]} <= waterfall)


def test_an_unexpected_size_holds_the_files_until_it_is_accepted(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(small_home, home, symlinks=True)
    folder = home / "exports" / GUARDED / AS_OF
    earlier = folder.with_name("2026-06-28")
    folder.rename(earlier)
    manifest = json.loads((earlier / "manifest.json").read_text())
    members = manifest["members"]
    assert members > 10
    # As if two days ago there had been three times as many.
    manifest["members"] = 3 * members
    (earlier / "manifest.json").write_text(json.dumps(manifest))
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}
    others = home / "exports" / "second_order"
    shutil.rmtree(others)

    run = jingxi("run", "--home", home, "--as-of", AS_OF, "--json").json
    (sentence,) = run["held"].values()
    assert set(run["held"]) == {GUARDED}
    assert (
        f"{members:,} members on {AS_OF} are 66.7 % fewer than the {3 * members:,} of 2026-06-28" in sentence
    )
    assert f"jingxi export {GUARDED} --accept" in sentence
    assert not folder.exists()
    assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before
    # Everything else is written.
    assert GUARDED not in run["audiences"]
    assert "second_order" in run["audiences"]
    assert (others / AS_OF / "manifest.json").exists()

    refused = jingxi("export", GUARDED, "--home", home, status=1)
    assert sentence in " ".join(refused.err.split())
    jingxi("export", GUARDED, "--home", home, "--accept")
    assert json.loads((folder / "manifest.json").read_text())["members"] == members
    again = jingxi("run", "--home", home, "--as-of", AS_OF)
    assert "held  " not in again.out
    assert GUARDED in again.out
