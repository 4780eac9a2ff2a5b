"""Reading one spec file: YAML without surprises, every value with its line.

Specs are written by people who are no programmers, and may come from strangers. So anchors, aliases, tags,
several documents, repeated keys, deep nesting and large files are refused, nothing but text, whole numbers,
decimals, true/false and empty is read (no dates, no `yes`/`no`, no octal numbers, no infinity), and no text
may hold the marks of dbt's template language.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from orchestration.errors import UsageError

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_TEXT_CHARACTERS = 2000
MAX_NUMBER_DIGITS = 14
MAX_PROBLEMS_SHOWN = 20

# A place in a document: keys and positions from the top.
Location = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+\Z")
_TEMPLATE_MARKS = ("{{", "{%", "{#")
# Control characters (a line feed may stand in a description) and those that turn the direction of writing.
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a spec, in one sentence, with the place to look at."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class SpecError(UsageError):
    """Specs that cannot be used; one sentence per problem, each with file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        shown = [str(problem) for problem in self.problems[:MAX_PROBLEMS_SHOWN]]
        if len(self.problems) > len(shown):
            shown.append(f"… and {len(self.problems) - len(shown)} more.")
        super().__init__("\n".join(shown))


@dataclass(frozen=True)
class Document:
    """One spec file. `data` holds dicts, tuples, text, int, Decimal, bool and None."""

    path: Path
    file: str  # as shown in messages
    data: dict[str, Any]
    lines: Mapping[Location, int]

    def line(self, location: Location) -> int:
        """The line of a place, or of the nearest place around it that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problem(self, location: Location, text: str) -> Problem:
        """A problem at a place."""
        return Problem(self.file, self.line(location), text)


def nearest(word: object, allowed: Iterable[str], *, limit: int = 12) -> str:
    """A half sentence that helps: the nearest allowed word, else the allowed words."""
    words = list(allowed)
    close = difflib.get_close_matches(str(word).lower(), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not words:
        return "there is none."
    more = f" … ({len(words)} in all)" if len(words) > limit else ""
    return f"allowed: {', '.join(words[:limit])}{more}."


def shown(value: object) -> str:
    """A value as the person wrote it, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]


def read_document(path: Path, file: str) -> Document:
    """Read one spec file; `file` is its name in messages. Raises SpecError."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise SpecError([Problem(file, 1, f"cannot be read: {error.strerror}.")]) from error
    if size > MAX_FILE_BYTES:
        raise SpecError([Problem(file, 1, f"a spec may have at most {MAX_FILE_BYTES // 1024} KiB.")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem(file, line, "is not UTF-8 text; save it as UTF-8.")]) from error
    data, lines = _Reader(file, text).read()
    return Document(path, file, data, lines)


class _Reader:
    """Builds the document from YAML events, without recursion, so that depth cannot hurt."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.lines: dict[Location, int] = {}

    def refuse(self, line: int, text: str) -> SpecError:
        return SpecError([Problem(self.file, line, text)])

    def events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.text, Loader=_Loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            reason = getattr(error, "problem", None) or "it holds a character that YAML does not allow"
            raise self.refuse(
                line, f"is not valid YAML: {reason}; look at indentation, colons and quotes."
            ) from error

    def read(self) -> tuple[dict[str, Any], dict[Location, int]]:
        # Open containers with the place they stand at; a mapping's waiting key is kept beside it.
        stack: list[tuple[dict[str, Any] | list[Any], Location]] = []
        keys: list[str | None] = []
        root: Any = None
        documents = 0
        for event in self.events():
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self.refuse(
                    line,
                    "anchors (&) and aliases (*) are not allowed; write the value out, or quote the text.",
                )
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refuse(
                        line, "a file holds one spec; remove everything from the second '---' on."
                    )
                continue
            if not isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                done, _ = stack.pop()
                keys.pop()
                self._place(stack, keys, tuple(done) if isinstance(done, list) else done)
                continue
            if getattr(event, "tag", None):
                raise self.refuse(
                    line, "YAML tags (!) are not allowed; quote the text if it begins with '!'."
                )
            # Where this node stands.
            if stack:
                parent, at = stack[-1]
                is_key = isinstance(parent, dict) and keys[-1] is None
                part: str | int = len(parent) if isinstance(parent, list) else str(keys[-1])
                location: Location = at if is_key else (*at, part)
            else:
                is_key, location = False, ()
            if is_key:
                assert isinstance(stack[-1][0], dict)  # noqa: S101 - narrows the type
                key = self._key(event, line, stack[-1][0])
                keys[-1] = key
                self.lines[(*location, key)] = line
                continue
            self.lines.setdefault(location, line)
            if isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event, line)
                if not stack:
                    root = value
                self._place(stack, keys, value)
                continue
            if len(stack) >= MAX_DEPTH:
                raise self.refuse(line, f"is nested deeper than {MAX_DEPTH} levels.")
            opened: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            if not stack:
                root = opened
            stack.append((opened, location))
            keys.append(None)
        if not isinstance(root, dict):
            raise self.refuse(1, "must hold fields and values, such as `name: value`.")
        return root, self.lines

    @staticmethod
    def _place(
        stack: list[tuple[dict[str, Any] | list[Any], Location]], keys: list[str | None], value: Any
    ) -> None:
        if not stack:
            return
        parent, _ = stack[-1]
        if isinstance(parent, list):
            parent.append(value)
        else:
            parent[str(keys[-1])] = value
            keys[-1] = None

    def _key(self, event: Any, line: int, parent: dict[str, Any]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self.refuse(line, "the name of a field must be a plain word.")
        key = self._text(event.value, line)
        if key in parent:
            raise self.refuse(line, f"{shown(key)} is given twice; keep one.")
        return key

    def _scalar(self, event: Any, line: int) -> Any:
        text = self._text(event.value, line)
        if not event.implicit[0]:  # quoted or block text
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE"):
            return True
        if text in ("false", "False", "FALSE"):
            return False
        if _WHOLE.match(text) or _DECIMAL.match(text):
            if sum(character.isdigit() for character in text) > MAX_NUMBER_DIGITS:
                raise self.refuse(
                    line, f"a number has at most {MAX_NUMBER_DIGITS} digits; put an identifier in quotes."
                )
            return int(text) if _WHOLE.match(text) else Decimal(text)
        return text

    def _text(self, text: str, line: int) -> str:
        if len(text) > MAX_TEXT_CHARACTERS:
            raise self.refuse(line, f"a text may have at most {MAX_TEXT_CHARACTERS} characters.")
        if "{" in text and any(mark in text for mark in _TEMPLATE_MARKS):
            raise self.refuse(line, "a text must not hold '{{', '{%' or '{#'; specs are no templates.")
        if _UNSEEN.search(text):
            raise self.refuse(line, "a text holds a character that cannot be seen; type it anew.")
        return text


class SpecModel(BaseModel):
    """Base of all declared things: nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise PydanticCustomError(
                "no_fields", "must hold fields: {allowed}.", {"allowed": ", ".join(cls.model_fields)}
            )
        allowed = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data:
            if key not in allowed:
                # The key goes with the error, so that the line of the wrong word is shown.
                raise PydanticCustomError(
                    "unknown_field",
                    "there is no field {shown}; {help}",
                    {"key": key, "shown": shown(key), "help": nearest(key, allowed)},
                )
        return data


Model = TypeVar("Model", bound=SpecModel)

_WORDS = {
    "string_type": "must be text; put it in quotes.",
    "int_type": "must be a whole number.",
    "bool_type": "must be true or false.",
    "tuple_type": "must be a list, such as [a, b].",
    "dict_type": "must hold fields and values.",
    "model_type": "must hold fields and values.",
}


def validate(document: Document, model: type[Model]) -> Model:
    """The document as a typed spec. Raises SpecError with every problem found."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise SpecError(_problem(document, dict(found)) for found in error.errors()) from error


def _problem(document: Document, found: dict[str, Any]) -> Problem:
    location: Location = tuple(part for part in found["loc"] if part != "[key]")
    context = found.get("ctx") or {}
    kind = found["type"]
    field = _field_name(location)
    if kind == "unknown_field":
        return document.problem((*location, context["key"]), found["msg"])
    if kind == "missing":
        return document.problem(location[:-1], f"{field} is missing.")
    if kind == "literal_error":
        if found["input"] is None:
            return document.problem(location, f"{field} is empty; allowed: {context['expected']}.")
        words = [word.strip("'") for word in re.split(r", | or ", context["expected"])]
        return document.problem(
            location, f"{field} cannot be {shown(found['input'])}; {nearest(found['input'], words)}"
        )
    limits = "".join(f" {value}" for key, value in context.items() if key in ("ge", "gt", "le", "lt"))
    if limits:
        word = {
            "greater_than_equal": "at least",
            "greater_than": "more than",
            "less_than_equal": "at most",
            "less_than": "less than",
        }
        return document.problem(location, f"{field} must be {word.get(kind, 'within')}{limits}.")
    if kind == "too_short":
        return document.problem(location, f"{field} needs at least {context['min_length']} entries.")
    if kind == "too_long":
        return document.problem(location, f"{field} may have at most {context['max_length']} entries.")
    if found["input"] is None and kind in _WORDS:
        return document.problem(location, f"{field} is empty; fill it in.")
    text = _WORDS.get(kind, found["msg"])
    return document.problem(location, f"{field}: {text}" if kind not in _WORDS else f"{field} {text}")


def _field_name(location: Location) -> str:
    parts = [str(part) for part in location if not isinstance(part, int)]
    return ".".join(parts[-2:]) if parts else "the spec"


def _refuse(text: str, **facts: object) -> PydanticCustomError:
    return PydanticCustomError("refused", text, facts)


def checked_name(value: str) -> str:
    """The name, if it is one. Raises PydanticCustomError."""
    if len(value) > 48 or not _NAME.match(value):
        raise _refuse(
            "{shown} is no name; use lower-case letters a–z, digits and single underscores, from a letter on, at most 48.",
            shown=shown(value),
        )
    return value


def _line_of_text(value: str) -> str:
    if not value.strip() or "\n" in value or len(value) > 80:
        raise _refuse("must be one line of 1 to 80 characters.")
    return value


def _paragraph(value: str) -> str:
    if not value.strip():
        raise _refuse("must not be empty.")
    return value


Name = Annotated[
    str, AfterValidator(checked_name), Field(json_schema_extra={"pattern": "^[a-z][a-z0-9]*(_[a-z0-9]+)*$"})
]
Line = Annotated[str, AfterValidator(_line_of_text)]
Paragraph = Annotated[str, AfterValidator(_paragraph)]


def names_of(which: str) -> dict[str, JsonValue]:
    """What the JSON Schema of a field says about the names that it takes."""
    return {"names": which}


class Label(SpecModel):
    """What people read, in both languages."""

    zh: Line = Field(description="Chinese")
    en: Line = Field(description="English")


def spec_files(folder: Path) -> Sequence[Path]:
    """Spec files of a folder, sorted by name; links are not followed."""
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.suffix in (".yml", ".yaml") and not file.is_symlink()
    )
