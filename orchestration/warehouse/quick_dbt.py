"""dbt without the work that nobody sees: half of the processor time of a build of small tables is dbt's own.

Each function changes one place of the pinned dbt and says what dbt did there; none changes what is built, and
tests/unit/test_quick_dbt.py holds each against dbt's own way. Times are of a build of 180 models and 195 tests.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import marshal
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

# What dbt has compiled, in its target folder.
TEMPLATES = "templates.bin"
_STAMP_BYTES = 32


# By place and name, what dbt has there.
_DBTS_OWN: dict[tuple[Any, str], Any] = {}


def dbts_own(place: Any, name: str) -> Any:
    """What dbt has in a class or module under a name, also after it was replaced; None when it has nothing."""
    return _DBTS_OWN.get((place, name), getattr(place, name, None))


def _replace(place: Any, name: str, ours: Any) -> None:
    _DBTS_OWN.setdefault((place, name), getattr(place, name, None))
    setattr(place, name, ours)


@functools.cache
def make_no_debug_events() -> None:
    """Let dbt make an event of level debug only for a log that shows it.

    dbt fills in, renders and scrubs some twenty of them for each model before it drops each by its level: a sixth of
    the processor time of a build of small tables.
    """
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    fire_event = dbts_own(EventManager, "fire_event")

    def fire_if_shown(
        self: EventManager, e: BaseEvent, level: EventLevel | None = None, *args: Any, **kwargs: Any
    ) -> None:
        shown = (logger.level == EventLevel.DEBUG for logger in self.loggers)
        if (level or e.level_tag()) != EventLevel.DEBUG or any(shown):
            fire_event(self, e, level, *args, **kwargs)

    _replace(EventManager, "fire_event", fire_if_shown)


@functools.cache
def fill_in_events_late() -> None:
    """Let an event fill in its message when somebody first reads it, which nobody does with one that is dropped.

    dbt converts the arguments to a protobuf message as soon as it names an event, node and all: some 9 000 times a
    build, of which 800 are shown.
    """
    from dbt_common.events.base_types import BaseEvent

    fill_in = dbts_own(BaseEvent, "__init__")

    def keep(self: BaseEvent, *args: Any, **kwargs: Any) -> None:
        vars(self)["_arguments"] = args, kwargs

    def read(self: BaseEvent) -> Any:
        held = vars(self)
        if "_message" not in held:
            args, kwargs = held.pop("_arguments")
            fill_in(self, *args, **kwargs)
        return held["_message"]

    def write(self: BaseEvent, message: Any) -> None:
        vars(self)["_message"] = message

    _replace(BaseEvent, "__init__", keep)
    _replace(BaseEvent, "pb_msg", property(read, write))


@functools.cache
def flatten_macros_once() -> None:
    """Name the macros of a context in one go.

    dbt makes two contexts for each model and test, and for each context an object for each of 700 macros, which it
    then looks for in five dictionaries, one name after the other: 600 000 times a build.
    """
    from dbt.clients.jinja import MacroGenerator
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt.include.global_project import PROJECT_NAME

    begin = dbts_own(MacroNamespace, "__init__")

    def flatten(self: MacroNamespace, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        # What is searched first wins.
        vars(self)["_flat"] = {
            **self.global_project_namespace,
            PROJECT_NAME: self.global_project_namespace,
            **self.packages,
            **self.global_namespace,
            **self.local_namespace,
        }

    def names(self: MacroNamespace) -> Iterator[str]:
        return iter(vars(self)["_flat"])

    def find(self: MacroNamespace, name: str) -> Any:
        return vars(self)["_flat"][name]

    def build(
        self: MacroNamespaceBuilder, macros_by_package: Mapping[str, Mapping[str, Any]], ctx: dict[str, Any]
    ) -> MacroNamespace:
        made = {
            package: {
                name: MacroGenerator(macro, ctx, self.node, self.thread_ctx) for name, macro in macros.items()
            }
            for package, macros in macros_by_package.items()
        }
        internal: dict[str, Any] = {}
        for package in reversed(self.internal_package_names_order):
            internal.update(made.get(package, {}))
        others = {
            package: macros for package, macros in made.items() if package not in self.internal_package_names
        }
        return MacroNamespace(
            local_namespace=others.get(self.search_package, {}),
            global_namespace={}
            if self.root_package == self.search_package
            else others.get(self.root_package, {}),
            global_project_namespace=internal,
            packages=others,
        )

    _replace(MacroNamespace, "__init__", flatten)
    _replace(MacroNamespace, "__iter__", names)
    _replace(MacroNamespace, "__getitem__", find)
    _replace(MacroNamespaceBuilder, "build_namespace", build)


@functools.cache
def keep_compiled_templates() -> dict[str, CodeType]:
    """Compile each Jinja text once: those of models, macros and tests are the same from day to day.

    dbt compiles every one of them anew for each call, and the line that calls a generic test for each of its tests.
    Returns what is kept, by key; `templates_in` fills it from a file.
    """
    from dbt_common.clients.jinja import MacroFuzzEnvironment
    from jinja2 import Undefined

    kept: dict[str, CodeType] = {}
    compile_anew = dbts_own(MacroFuzzEnvironment, "compile")

    def compile_once(self: MacroFuzzEnvironment, source: Any, *args: Any, **kwargs: Any) -> Any:
        # With other arguments while dbt parses, or for somebody who debugs a macro.
        if args or kwargs or not isinstance(source, str) or self.undefined is not Undefined:
            return compile_anew(self, source, *args, **kwargs)
        key = hashlib.sha256(f"{type(self).__name__} {source}".encode()).hexdigest()
        if key not in kept:
            kept[key] = compile_anew(self, source)
        return kept[key]

    _replace(MacroFuzzEnvironment, "compile", compile_once)
    return kept


def _stamp(body: bytes) -> bytes:
    """What a file of compiled templates begins with: bytecode is of one Python and one Jinja, and must be whole."""
    made_by = f"{sys.implementation.cache_tag} {version('jinja2')} ".encode()
    return hashlib.sha256(made_by + body).digest()


@contextlib.contextmanager
def templates_in(file: Path) -> Iterator[None]:
    """Begin with the compiled templates of a file, and leave there those that were added. A file that cannot be read
    or written costs the time to compile, no more."""
    kept = keep_compiled_templates()
    with contextlib.suppress(OSError):
        content = file.read_bytes()
        if content[:_STAMP_BYTES] == _stamp(content[_STAMP_BYTES:]):
            kept.update(marshal.loads(content[_STAMP_BYTES:]))  # noqa: S302 (this program's own file, whole as it was written)
    before = len(kept)
    try:
        yield
    finally:
        if len(kept) > before:
            body = marshal.dumps(kept)
            part = file.with_suffix(".part")
            with contextlib.suppress(OSError):
                part.write_bytes(_stamp(body) + body)
                part.replace(file)


@functools.cache
def share_type_testers() -> None:
    """Make what guesses the types of a query's answer once for each set of text columns.

    dbt makes it for every statement, also for those without an answer, each with two parsers of dates in plain words.
    """
    import agate
    from dbt_common.clients import agate_helper

    build = dbts_own(agate_helper, "build_type_tester")
    empty = agate.Table(rows=[])

    @functools.cache
    def build_once(columns: frozenset[str], null_values: tuple[str, ...] | None) -> agate.TypeTester:
        return build(columns, null_values)

    def shared(text_columns: Iterable[str], string_null_values: Iterable[str] | None = ("null", "")) -> Any:
        null_values = None if string_null_values is None else tuple(string_null_values)
        return build_once(frozenset(text_columns), null_values)

    _replace(agate_helper, "build_type_tester", shared)
    _replace(agate_helper, "empty_table", lambda: empty)


@functools.cache
def write_no_manifest() -> None:
    """Leave dbt's manifest as the last `parse` wrote it: dbt writes the same again, twice a call, for nobody."""
    from dbt.parser import manifest
    from dbt.task import runnable

    def write_nothing(*_: Any, **__: Any) -> None: ...

    _replace(manifest, "write_manifest", write_nothing)
    _replace(runnable, "write_manifest", write_nothing)


def make_quick() -> None:
    """Everything of the above that holds for any call of dbt."""
    make_no_debug_events()
    fill_in_events_late()
    flatten_macros_once()
    keep_compiled_templates()
    share_type_testers()
