"""A marketer's morning: a new audience, a wrong word explained, a look at it, and the file that opens in Excel."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import openpyxl

from orchestration.home import PROJECT_ROOT
from tests.command import EXECUTABLE, Outcome, ask, environment

TAG = """\
family: spring
title: {zh: 春季, en: Spring}
category: behaviour
owner: crm
tags:
  - tag: spring_shopper
    title: {zh: 春季客户, en: Spring shopper}
    description: Ordered in the last 90 days.
    when: {column: orders_count_90d, gte: 1}
"""
FILLED_IN = {
    "title: {zh: , en: }   # <- what people read, in Chinese and in English": "title: {zh: 春季唤回, en: Spring win-back}",
    "owner:                # <- who answers for it": "owner: crm",
    "description:          # <- what it is for, in a sentence": "description: Bought before, and not for a while.",
    "who:                  # <- a condition, here or indented below": (
        "who:\n  all:\n    - {column: orders_count, gte: 1}\n    - {column: days_since_ordr, gte: 30}"
    ),
}


def test_a_marketers_morning(small_home: Path, tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    for name in ("orchestration", "dbt_project", "seeds"):
        shutil.copytree(PROJECT_ROOT / name, project / name)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", project / "dagster.yaml")
    shutil.copytree(small_home, home, symlinks=True)

    def jingxi(*arguments: str | Path, status: int = 0) -> Outcome:
        process = subprocess.run(
            [EXECUTABLE, *map(str, arguments)],
            env=environment(PYTHONPATH=str(project), JINGXI_HOME=str(home), JINGXI_SET_HISTORY__DAYS="1"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert process.returncode == status, process.stdout[-3000:] + process.stderr[-3000:]
        return Outcome(process.returncode, process.stdout, process.stderr)

    jingxi("new", "audience", "spring_winback")
    spec = project / "dbt_project/specs/audiences/spring_winback.yml"
    text = spec.read_text(encoding="utf-8")
    for line, filled_in in FILLED_IN.items():
        assert text.count(line) == 1, line
        text = text.replace(line, filled_in)
    spec.write_text(text, encoding="utf-8")

    wrong = text.splitlines().index("    - {column: days_since_ordr, gte: 30}") + 1
    explained = jingxi("preview", "spring_winback", status=2).err
    assert f"dbt_project/specs/audiences/spring_winback.yml:{wrong}: " in explained
    assert "there is no column 'days_since_ordr' in user_wide; did you mean 'days_since_order'?" in explained
    # The run says the same, and builds nothing.
    before = (home / "published" / "manifest.json").read_bytes()
    assert "did you mean 'days_since_order'?" in jingxi("run", "--as-of", "2026-06-30", status=2).err
    assert (home / "published" / "manifest.json").read_bytes() == before
    spec.write_text(text.replace("days_since_ordr", "days_since_order"), encoding="utf-8")

    previewed = jingxi("preview", "spring_winback", "--json").json
    assert previewed["members"] > 10
    exports = home / "exports" / "spring_winback" / "2026-06-30"
    assert not exports.exists()

    # A tag of her own, too: the days that are held get a column more.
    (project / "dbt_project/specs/tags/spring.yml").write_text(TAG, encoding="utf-8")

    # Nobody has to know that rules are compiled.
    ran = jingxi("run", "--as-of", "2026-06-30")
    assert "Compiled the changed specs" in ran.out
    assert ask(home, "select count(*) > 0 from user_tags where tag = 'spring_shopper'") == [(True,)]
    sheet = openpyxl.load_workbook(exports / "audience.xlsx", read_only=True).worksheets[0]
    rows = list(sheet.iter_rows(values_only=True))
    manifest = json.loads((exports / "manifest.json").read_text())
    # A tenth of the members is held out and not in the file.
    assert len(rows) - 1 == manifest["count"] == manifest["members"] - manifest["holdout"]
    assert manifest["members"] == previewed["members"] > manifest["count"] > 0
