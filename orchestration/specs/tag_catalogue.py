"""The tag catalogue: seeds of definitions, sources and values."""

from __future__ import annotations

from collections.abc import Sequence

from orchestration.specs.catalog import ValueType
from orchestration.specs.generated import csv_text
from orchestration.specs.tags import CATEGORY_LABELS, CaseSpec, Tag, ValueSpec

_DEFINITION_FIELDS = (
    "tag",
    "title_zh",
    "title_en",
    "category",
    "category_zh",
    "category_en",
    "family",
    "family_zh",
    "family_en",
    "description",
    "value_type",
    "rule",
    "rule_hash",
    "source",
    "validity_days",
    "refresh",
    "owner",
    "status",
    "parent",
    "empty_result",
    "evidence",
    "ask_zh",
    "ask_en",
)


def definitions_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tag catalogue."""
    rows = []
    for tag in tags:
        category = CATEGORY_LABELS[tag.family.category]
        rows.append(
            {
                "tag": tag.code,
                "title_zh": tag.spec.title.zh,
                "title_en": tag.spec.title.en,
                "category": tag.family.category,
                "category_zh": category[0],
                "category_en": category[1],
                "family": tag.family.family,
                "family_zh": tag.family.title.zh,
                "family_en": tag.family.title.en,
                "description": " ".join(tag.spec.description.split()),
                "value_type": tag.value_type,
                "rule": tag.words,
                "rule_hash": tag.rule_hash,
                "source": tag.source,
                "validity_days": "" if tag.spec.validity_days is None else str(tag.spec.validity_days),
                "refresh": "daily",
                "owner": tag.spec.owner or tag.family.owner,
                "status": tag.spec.status,
                "parent": tag.spec.parent or "",
                "empty_result": tag.spec.empty_result,
                "evidence": tag.source if tag.is_observed else tag.spec.evidence or "",
                "ask_zh": tag.spec.ask.zh if tag.spec.ask else "",
                "ask_en": tag.spec.ask.en if tag.spec.ask else "",
            }
        )
    return csv_text(_DEFINITION_FIELDS, rows)


_SOURCE_FIELDS = ("tag", "kind", "dimension", "question", "half_life_days", "floor", "top", "validity_days")


def sources_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tags that int_tags__observed computes: interests, answers and what staff set."""
    rows = []
    for tag in tags:
        if not tag.is_observed:
            continue
        interest = tag.spec.interest
        rows.append(
            {
                "tag": tag.code,
                "kind": "interest" if interest else "question" if tag.spec.question else "by_hand",
                "dimension": interest.dimension if interest else "",
                "question": tag.spec.question or "",
                "half_life_days": str(interest.half_life_days) if interest else "",
                "floor": str(interest.floor) if interest else "",
                "top": str(interest.top) if interest else "",
                "validity_days": str(tag.spec.validity_days or ""),
            }
        )
    return csv_text(_SOURCE_FIELDS, rows)


def values_csv(tags: Sequence[Tag]) -> str:
    """Seed of the values that tags can take: one row per value of an enumerated tag, one for a yes/no tag."""
    rows = []
    for tag in tags:
        labelled: Sequence[CaseSpec | ValueSpec] = tag.spec.cases or tag.spec.values or ()
        entries = [(entry.value, entry.title) for entry in labelled]
        if tag.type is ValueType.BOOLEAN:
            entries = [("true", tag.spec.title)]
        for position, (value, title) in enumerate(entries, start=1):
            rows.append(
                {
                    "tag": tag.code,
                    "value": value,
                    "position": str(position),
                    "title_zh": title.zh,
                    "title_en": title.en,
                }
            )
    return csv_text(("tag", "value", "position", "title_zh", "title_en"), rows)
