"""A new spec file says what to fill in, and compiles once that is done."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR, SPECS_DIR
from orchestration.specs.activations import ActivationSpec, tag_uses_csv
from orchestration.specs.compiler import compile_specs
from orchestration.specs.conditions import read_predicate
from orchestration.specs.documents import SpecError, read_document
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_audiences, load_project, load_tags
from orchestration.specs.new import NewKind, new_spec
from orchestration.specs.tags import tag_types, user_vocabulary
from tests.command import jingxi

FILLED = {
    "title: {zh: , en: }": "title: {zh: 春, en: Spring}",
    "owner:": "owner: crm",
    "category:": "category: behaviour",
    "description:": "description: A test.",
    "audience:": "audience: second_order",
    "who:": "who: {did: view, within_days: 7}",
    "when:": "when: {did: view, within_days: 7}",
}


@pytest.fixture
def dbt_dir(tmp_path: Path) -> Path:
    """The shipped specs and contracts, without SQL."""
    target = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR / "specs", target / "specs")
    contracts = shutil.ignore_patterns("*.sql")
    shutil.copytree(DBT_PROJECT_DIR / "models", target / "models", ignore=contracts)
    shutil.copytree(DBT_PROJECT_DIR.parent / "seeds", tmp_path / "seeds")
    return target


def fill_in(file: Path) -> None:
    lines = []
    for line in file.read_text().splitlines():
        if "# <-" in line and not line.lstrip().startswith("#"):
            empty = line.split("#")[0]
            words = next(words for words in FILLED if empty.strip().startswith(words))
            line = empty.replace(words, FILLED[words])
        lines.append(line)
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("kind", get_args(NewKind))
def test_a_new_spec_asks_for_what_is_missing_and_then_compiles(dbt_dir: Path, kind: NewKind) -> None:
    file = new_spec(kind, "spring", dbt_dir)
    marked = [
        number
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if "# <-" in line and not line.lstrip().startswith("#")
    ]
    with pytest.raises(SpecError) as caught:
        load_project(dbt_dir)
    assert {problem.file for problem in caught.value.problems} == {
        f"dbt_project/specs/{file.parent.name}/spring.yml"
    }
    assert {problem.line for problem in caught.value.problems} <= {
        *marked,
        marked[-1] - 1,
        *range(marked[-1]),
    }
    assert "is empty" in str(caught.value)
    fill_in(file)
    project = load_project(dbt_dir)
    assert any(
        "spring" in text for path, text in compile_specs(project).items() if path.endswith((".sql", ".csv"))
    )


def test_every_condition_that_the_comments_show_is_right(dbt_dir: Path) -> None:
    project: Project = load_project(dbt_dir)
    types = tag_types(load_tags(project))
    for kind, place in (("audience", "spring_one"), ("tag", "spring_two")):
        text = new_spec(kind, place, dbt_dir).read_text()  # type: ignore[arg-type]
        shown = [
            found for line in text.splitlines() for found in re.findall(r"#   (\{.*?\})(?:   |$|\s*$)", line)
        ]
        assert len(shown) >= 9
        for condition in shown:
            file = dbt_dir / "x.yml"
            file.write_text(f"who: {condition}\n")
            document = read_document(file, "x.yml")
            vocabulary = user_vocabulary(project, types, ["second_order"])
            assert read_predicate(document.data["who"], vocabulary, document, ("who",))[1] == []


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("audience", "second_order", "There is already an audience second_order: dbt_project/specs/audiences/second_order.yml."),
        ("tag", "birthday_soon", "There is already a tag birthday_soon: dbt_project/specs/tags/profile.yml."),
        ("tag", "profile", "There is already a tag profile: dbt_project/specs/tags/profile.yml."),
        ("funnel", "aipl", "There is already a funnel aipl: dbt_project/specs/funnels/aipl.yml."),
        ("audience", "../../etc/cron", "'../../etc/cron' is no name; use lower-case letters"),
        ("audience", "Spring", "'Spring' is no name"),
        ("funnel", "x" * 49, "is no name"),
    ],
)  # fmt: skip
def test_a_name_that_is_taken_or_none_is_refused(
    dbt_dir: Path, kind: NewKind, name: str, sentence: str
) -> None:
    before = {file: file.read_bytes() for file in dbt_dir.rglob("*.yml")}
    with pytest.raises(UsageError, match=re.escape(sentence)):
        new_spec(kind, name, dbt_dir)
    assert {file: file.read_bytes() for file in dbt_dir.rglob("*.yml")} == before


def test_the_command_refuses_a_name_that_is_taken() -> None:
    outcome = jingxi("new", "audience", "second_order", status=2)
    assert "There is already an audience second_order" in outcome.err


def test_what_uses_a_tag_is_listed() -> None:
    project = load_project()
    audiences = load_audiences(project)
    asked = {(tag, name) for name, audience in audiences.items() for tag in audience.tags}
    line = ActivationSpec.model_validate(
        {
            **yaml.safe_load(
                (SPECS_DIR / "activations" / "dormant_tag_list.yml").read_text(encoding="utf-8")
            ),
            "fields": {"koc": {"tag": "koc"}},
        }
    )
    rows = list(csv.DictReader(io.StringIO(tag_uses_csv(audiences.values(), [line]))))
    assert {"tag": "koc", "used_by_kind": "activation", "used_by": "dormant_tag_list"} in rows
    assert asked <= {(row["tag"], row["used_by"]) for row in rows if row["used_by_kind"] == "audience"}
