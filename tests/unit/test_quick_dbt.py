"""What makes dbt quick changes nothing that dbt makes."""

from __future__ import annotations

import json
import marshal
import types
from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.events.types import ConnectionUsed
from dbt.clients.jinja import MacroStack
from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
from dbt.exceptions import PackageNotFoundForMacroError
from dbt_common.clients import agate_helper
from dbt_common.clients.jinja import MacroFuzzEnvironment, get_template
from dbt_common.events.base_types import BaseEvent
from dbt_common.events.types import Note

from orchestration.warehouse import quick_dbt


def _as_dbt_has_it(monkeypatch: pytest.MonkeyPatch, place: Any, *names: str) -> None:
    """Until the end of the test, whoever was first to make dbt quick in this process."""
    for name in names:
        own = quick_dbt.dbts_own(place, name)
        now = vars(place).get(name)
        monkeypatch.setattr(place, name, own, raising=False)
        if own is None and now is not None:
            delattr(place, name)


class Macro:
    """As much of one as a namespace needs."""

    def __init__(self, package_name: str, name: str) -> None:
        self.package_name, self.name = package_name, name
        self.unique_id = f"macro.{package_name}.{name}"


NAMES = {
    "jingxi": ("as_of", "shared", "is_incremental"),
    "helper": ("shared", "own"),
    "dbt": ("shared", "is_incremental", "default", "dbt"),
    "dbt_duckdb": ("is_incremental", "default"),
}


def _namespace(root: str, search: str, node: object) -> MacroNamespace:
    macros = {package: {name: Macro(package, name) for name in names} for package, names in NAMES.items()}
    builder = MacroNamespaceBuilder(root, search, MacroStack(), ["dbt_duckdb", "dbt"], node)
    return builder.build_namespace(macros, {"of": search})


def _said(member: Any) -> Any:
    """Which macro a name stands for, in which context, for which node; of a package, all its names."""
    if isinstance(member, dict):
        return {name: _said(inner) for name, inner in member.items()}
    return member.macro.unique_id, member.context, member.node


def _everything(root: str, search: str) -> dict[str, Any]:
    node = "model.jingxi.user_wide"
    namespace = _namespace(root, search, node)
    flat: dict[str, Any] = {}
    flat.update(namespace)
    found: dict[str, Any] = {
        "flat": {name: _said(member) for name, member in flat.items()},
        "length": len(namespace),
    }
    for package in (None, *NAMES):
        for name in sorted({name for names in NAMES.values() for name in names}):
            try:
                member = namespace.get_from_package(package, name)
                found[f"{package}.{name}"] = member and _said(member)
            except PackageNotFoundForMacroError:
                found[f"{package}.{name}"] = "no such package"
    return found


@pytest.mark.parametrize("search", ["jingxi", "helper", "dbt", "dbt_duckdb"])
@pytest.mark.parametrize("root", ["jingxi", "helper"])
def test_every_name_finds_the_macro_that_dbt_finds(
    monkeypatch: pytest.MonkeyPatch, root: str, search: str
) -> None:
    _as_dbt_has_it(monkeypatch, MacroNamespace, "__init__", "__iter__", "__getitem__")
    _as_dbt_has_it(monkeypatch, MacroNamespaceBuilder, "build_namespace")
    expected = _everything(root, search)
    quick_dbt.flatten_macros_once.__wrapped__()
    assert _everything(root, search) == expected
    assert len(expected["flat"]) >= 5


def test_an_event_says_the_same_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _as_dbt_has_it(monkeypatch, BaseEvent, "__init__", "pb_msg")

    def events() -> list[BaseEvent]:
        used = ConnectionUsed(conn_type="duckdb", conn_name="a", node_info={"node_name": "user_wide"})
        used.conn_name = "b"
        return [Note(msg=5), used]

    def said(all_of_them: list[BaseEvent]) -> list[Any]:
        return [(str(event.pb_msg), event.message(), event.level_tag()) for event in all_of_them]

    expected = said(events())
    quick_dbt.fill_in_events_late.__wrapped__()
    made = events()
    # Nobody has read the first one yet.
    assert "_message" not in vars(made[0])
    assert said(made) == expected
    assert expected[1][1] == 'Using duckdb connection "b"'


def test_a_template_is_compiled_once_and_renders_what_its_context_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = quick_dbt.dbts_own(MacroFuzzEnvironment, "compile")
    keep_compiled_templates = quick_dbt.keep_compiled_templates.__wrapped__
    compiled = []

    def compiling(self: Any, source: str, *args: Any, **kwargs: Any) -> Any:
        compiled.append(source)
        return own(self, source, *args, **kwargs)

    _as_dbt_has_it(monkeypatch, MacroFuzzEnvironment, "compile")

    def quick() -> None:
        monkeypatch.setattr(quick_dbt, "dbts_own", lambda *_: compiling)
        kept = keep_compiled_templates()
        monkeypatch.setattr(quick_dbt, "keep_compiled_templates", lambda: kept)

    def rendered(text: str, *, native: bool = False, **context: Any) -> Any:
        return get_template(text, context, native=native).render(context)

    text, file = "{% set twice = n * 2 %}{{ twice }}", tmp_path / "templates.bin"
    quick()
    with quick_dbt.templates_in(file):
        assert [rendered(text, n=n) for n in (1, 4)] == ["2", "8"]
        # Another kind of environment makes other code of the same text.
        assert rendered("{{ n | as_number }}", native=True, n="4") == 4
        assert rendered("{{ n | as_number }}", n="4") == "4"
    assert len(compiled) == 3
    # What another process compiled.
    compiled.clear()
    quick()
    with quick_dbt.templates_in(file):
        assert rendered(text, n=3) == "6"
        assert rendered("{{ n | as_number }}", native=True, n="5") == 5
    assert not compiled


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 40, None])
def test_a_file_of_templates_that_is_damaged_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    kept: dict[str, types.CodeType] = {}
    monkeypatch.setattr(quick_dbt, "keep_compiled_templates", lambda: kept)
    file = tmp_path / "templates.bin"
    if content is None:
        # Whole, but of another Python.
        body = marshal.dumps({"a": compile("1", "a", "eval")})
        with monkeypatch.context() as patch:
            patch.setattr("sys.implementation", types.SimpleNamespace(cache_tag="cpython-27"))
            content = quick_dbt._stamp(body) + body
    file.write_bytes(content)
    with quick_dbt.templates_in(file):
        assert not kept
        kept["b"] = compile("2", "b", "eval")
    kept.clear()
    with quick_dbt.templates_in(file):
        assert eval(kept["b"]) == 2


def test_a_file_of_templates_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    with quick_dbt.templates_in(tmp_path / "none" / "templates.bin"):
        quick_dbt.keep_compiled_templates()["of a test"] = compile("1", "a", "eval")
    del quick_dbt.keep_compiled_templates()["of a test"]


ROWS: list[dict[str, Any]] = [
    {"day": "2026-01-01", "number": "005", "list": [1], "count": 3, "nothing": None},
    {"day": "", "number": "null", "list": [], "count": 4, "nothing": None},
]


def test_answers_have_the_types_that_dbt_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    _as_dbt_has_it(monkeypatch, agate_helper, "build_type_tester", "empty_table")

    def tables() -> list[Any]:
        made = [agate_helper.table_from_data_flat(ROWS[:rows], list(ROWS[0])) for rows in (2, 1, 0)]
        made += [agate_helper.table_from_data_flat([{"n": 1}], ["n"])]
        made.append(agate_helper.empty_table())  # type: ignore[no-untyped-call]
        return [
            (
                table.column_names,
                [type(kind) for kind in table.column_types],
                [tuple(row) for row in table.rows],
            )
            for table in made
        ]

    expected = tables()
    quick_dbt.share_type_testers.__wrapped__()
    assert tables() == expected
    assert tables() == expected
    assert json.dumps(expected[0][2][0][1]) == '"005"'
