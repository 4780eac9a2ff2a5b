"""SQL expressions that turn what a file holds into the types of the contract.

Every expression is null when the value cannot be converted; nothing here raises on data, and nothing rounds a
value to another one except decimals beyond four places.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.ingestion.contracts import Column, Type
from orchestration.timezones import steady_offset

_FIRST, _LAST = "timestamp '1000-01-01'", "timestamp '9999-12-31 23:59:59.999999'"
_BLANKS = "' ' || chr(9) || chr(10) || chr(13)"
# ISO 8601 with a zone, in the spellings that a plain cast does not take.
_ZONED = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|UTC|[+-]\d\d(:?\d\d)?)"
_PLAIN = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?"

EXPECTED = {
    Type.TEXT: "must be text",
    Type.INTEGER: "must be a whole number without thousands separators",
    Type.DECIMAL: "must be a number with a decimal point, without thousands separators, below 10^14",
    Type.DATE: "must be a day written as 2026-01-31",
    Type.TIMESTAMP: "must be a moment written as 2026-01-31T12:30:00, with or without a zone such as +08:00",
    Type.JSON: "must be one JSON object",
}


def literal(value: str) -> str:
    """A text literal."""
    return "'" + value.replace("'", "''") + "'"


def name(identifier: str) -> str:
    """A quoted identifier."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True)
class BusinessTime:
    """Conversions between business time and UTC. Sessions have TimeZone UTC. Arguments are column names."""

    zone: str

    def to_utc(self, local: str) -> str:
        """UTC of a timestamp in business time."""
        slow = f"cast(timezone({literal(self.zone)}, {local}) as timestamp)"
        return self._steady(local, "{moment} - to_seconds({seconds})", slow)

    def day(self, utc: str) -> str:
        """The business day of a timestamp in UTC."""
        slow = f"cast(timezone({literal(self.zone)}, cast({utc} as timestamptz)) as date)"
        return self._steady(utc, "cast({moment} + to_seconds({seconds}) as date)", slow)

    def _steady(self, moment: str, fast: str, slow: str) -> str:
        """Plain arithmetic where the zone has had one offset for years: time zone look-ups cost ten times more."""
        steady = steady_offset(self.zone)
        if steady is None:
            return slow
        return (
            f"case when {moment} >= timestamp '{steady.since}' "
            f"then {fast.format(moment=moment, seconds=steady.seconds)} else {slow} end"
        )


def filled_text(column: Column, text: str) -> str:
    """Text as it is, null when it is empty or white space; trimmed when it stands for another type."""
    # Most values start and end with a printable character: the comparisons save trimming them.
    if column.type is Type.TEXT:
        return f"case when {text} >= '!' or trim({text}, {_BLANKS}) <> '' then {text} end"
    return (
        f"case when {text} >= '!' and right({text}, 1) >= '!' then {text} "
        f"else nullif(trim({text}, {_BLANKS}), '') end"
    )


def moments(text: str) -> tuple[str, str]:
    """From ISO 8601 text: the timestamp in business time if it names no zone, the one in UTC if it does."""
    # The cast to TIMESTAMP would ignore a zone, so text with a zone takes the other way.
    dated = f"substring({text}, 5, 1) = '-' and substring({text}, 8, 1) = '-'"
    has_zone = f"(right({text}, 1) > '9' or position('+' in {text}) > 0 or position('-' in substring({text}, 11)) > 0)"
    plain = (
        f"coalesce(try_cast({text} as timestamp), case when regexp_full_match({text}, {literal(_PLAIN)}) "
        f"then try_cast(replace({text}, ',', '.') as timestamp) end)"
    )
    spelt = f"replace(replace(replace(upper({text}), 'UTC', 'Z'), 'T', ' '), ',', '.')"
    spelt = rf"regexp_replace({spelt}, '^(.{{16}}) ?(Z|[+-])', '\1:00\2')"
    spelt = rf"regexp_replace({spelt}, ' (Z|[+-][0-9:]+)$', '\1')"
    zoned = (
        f"coalesce(case when right({text}, 1) <= '9' or right({text}, 1) = 'Z' "
        f"then try_cast({text} as timestamptz) end, "
        f"case when regexp_full_match(upper({text}), {literal(_ZONED)}) then try_cast({spelt} as timestamptz) end)"
    )
    return (
        f"case when {dated} and not {has_zone} then {plain} end",
        f"case when {dated} and {has_zone} then cast({zoned} as timestamp) end",
    )


def from_text(column: Column, text: str, local: str, zoned: str, zone: BusinessTime) -> str:
    """The value of a column from `filled_text`; `local` and `zoned` are its `moments`."""
    match column.type:
        case Type.TEXT:
            return text
        case Type.INTEGER:
            return rf"case when regexp_full_match({text}, '[+-]?[0-9]+(\.0*)?') then try_cast({text} as bigint) end"
        case Type.DECIMAL:
            return f"case when position('_' in {text}) = 0 then try_cast({text} as decimal(18, 4)) end"
        case Type.DATE:
            return (
                f"case when {_is_bounded(local)} then cast({local} as date) "
                f"when {_is_bounded(zoned)} then {zone.day(zoned)} end"
            )
        case Type.TIMESTAMP:
            return (
                f"case when {_is_bounded(local)} then {zone.to_utc(local)} "
                f"when {_is_bounded(zoned)} then {zoned} end"
            )
        case Type.JSON:
            return f"case when json_valid({text}) then case when json_type({text}) = 'OBJECT' then {text} end end"


def _is_bounded(moment: str) -> str:
    return f"{moment} between {_FIRST} and {_LAST}"


def from_typed(column: Column, value: str, source: str, zone: BusinessTime) -> str:
    """The value of a column from a typed value that is not null. `source` is its DuckDB type."""
    kind = _kind(source)
    whole = f"({value} = trunc({value}) and abs({value}) < 1e18)"
    nothing = f"cast(null as {column.type.value})"
    match column.type, kind:
        case Type.TEXT, "nested":
            return f"cast(to_json({value}) as varchar)"
        case Type.TEXT, "fraction":
            return f"case when {whole} then cast(cast({value} as bigint) as varchar) else cast({value} as varchar) end"
        case Type.TEXT, "zoned":
            return f"strftime({value}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        case Type.TEXT, _:
            return f"cast({value} as varchar)"
        case Type.INTEGER, "whole":
            return f"try_cast({value} as bigint)"
        case Type.INTEGER, "fraction":
            return f"case when {whole} then try_cast({value} as bigint) end"
        case Type.DECIMAL, "whole" | "fraction":
            return f"try_cast({value} as decimal(18, 4))"
        case Type.DATE, "day":
            return value
        case Type.DATE, "local":
            return f"cast({value} as date)"
        case Type.DATE, "zoned":
            return zone.day(f"cast({value} as timestamp)")
        case Type.TIMESTAMP, "day" | "local":
            local = f"try_cast({value} as timestamp)"
            return f"case when {_is_bounded(local)} then {zone.to_utc(local)} end"
        case Type.TIMESTAMP, "zoned":
            utc = f"try_cast({value} as timestamp)"
            return f"case when {_is_bounded(utc)} then {utc} end"
        case Type.JSON, "nested":
            return (
                f"case when json_type(to_json({value})) = 'OBJECT' then cast(to_json({value}) as varchar) end"
            )
        case _:
            return nothing


def present(value: str, source: str) -> str:
    """A typed value, null when it is not a number."""
    return f"case when not isnan({value}) then {value} end" if source in ("DOUBLE", "FLOAT") else value


def _kind(source: str) -> str:
    if source.endswith("]") or source.startswith(("STRUCT", "MAP", "UNION", "JSON")):
        return "nested"
    if source in ("DOUBLE", "FLOAT") or source.startswith("DECIMAL"):
        return "fraction"
    if source.removeprefix("U") in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"):
        return "whole"
    if source == "TIMESTAMP WITH TIME ZONE":
        return "zoned"
    if source.startswith("TIMESTAMP"):
        return "local"
    return {"DATE": "day"}.get(source, "other")
