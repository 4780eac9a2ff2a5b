"""Bringing the outcomes of a record's parts together, and values of fields into texts."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from orchestration.destinations.protocol import Accepted, Deferred, InDoubt, Outcome, Rejected


def together(parts: Iterable[Outcome]) -> Outcome | None:
    """One outcome of a record that took several calls; None without any.

    One in doubt leaves the record in doubt; one deferred defers it; else one accepted part is enough: the others are
    gone at the destination (a member who no longer follows the customer).
    """
    found = list(parts)
    for kind in (InDoubt, Deferred, Accepted, Rejected):
        for own in found:
            if isinstance(own, kind):
                return own
    return None


def as_texts(value: JsonValue) -> list[str] | None:
    """A field's value as texts: a list's items or the one value; nothing for null; None when it is no text."""
    values = value if isinstance(value, list) else [value]
    texts: list[str] = []
    for own in values:
        if own is None or own == "":
            continue
        if isinstance(own, bool | float | dict | list):
            return None
        texts.append(str(own))
    return texts
