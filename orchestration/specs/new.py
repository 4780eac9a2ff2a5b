"""A new spec file to fill in: commented, in its place, with the name that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic_core import PydanticCustomError

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR
from orchestration.specs.activations import ActivationSpec
from orchestration.specs.audiences import AudienceSpec
from orchestration.specs.documents import checked_name
from orchestration.specs.funnels import FunnelSpec, declared_names
from orchestration.specs.kinds import Project
from orchestration.specs.loader import read_project
from orchestration.specs.tags import CATEGORY_LABELS, TagFamilySpec

NewKind = Literal["audience", "tag", "funnel", "activation"]
_FOLDERS = {"audience": "audiences", "tag": "tags", "funnel": "funnels", "activation": "activations"}

_HEAD = """\
# yaml-language-server: $schema=../schemas/{folder}.schema.json
# Fill in the lines marked <-; what begins with # is only read by people. `jingxi preview {name}` says what is missing,
# and once nothing is, what it finds; the next `jingxi run` builds it.
"""
_ACTIVATION_HEAD = """\
# yaml-language-server: $schema=../schemas/activations.schema.json
# Fill in the lines marked <-; what begins with # is only read by people. `jingxi compile` says what is missing and makes
# it part of the next `jingxi run`; then `jingxi push {name} --dry-run` shows what would be sent, and to how many.
"""
_ACTIVATION = """\

activation: {name}
title: {{zh: , en: }}   # <- what people read, in Chinese and in English
owner:                # <- who answers for it, and for what is refused
description:          # <- what it is for, in a sentence

audience:             # <- who is sent: a name of dbt_project/specs/audiences
destination: outbox   # a name of <home>/destinations.yml; outbox is a folder of files in the home
mode: upsert          # insert: who is new · update: who changed · upsert: both · mirror: also removes who left · full: everybody
purpose: marketing    # marketing needs consent, service does not
channel: sms          # wecom, sms, email, file, ads, …: what consent and contact rules speak of
key: phone            # what tells people apart there: a type of identifier, or user_id

# The destination's fields and where each comes from; as few as the purpose needs.
fields:
  last_order: {{column: days_since_order}}
  # power: {{tag: spending_power}}
  # member: {{identifier: member_id}}
  # brand: {{value: Jingxi}}

# options: {{template: SMS_1}}   # what the destination is told once for all
# priority: 10                 # 1 comes first when several lines want to reach a user
# sends_at: "10:00"            # business time at which it is meant to be sent
# content_id: spring_letter    # nobody gets the same content twice
# campaign_id: spring

# Beyond these bounds a run waits for `jingxi push --approve RUN`.
guard: {{max_change_percent: 50, max_removed_percent: 30}}
"""
_CONDITIONS = """\
#   {column: days_since_order, between: [30, 180]}             a column of user_wide: eq ne gt gte lt lte between in contains is_null
#   {column: contact_added_date, within_days: 7}               a day: as_of and the six days before it
#   {segment: rfm, in: [important_winback, important_keep]}    a segment
#   {did: cart, at_least: 2, within_days: 7, where: {column: category_l1, eq: skincare}}
#   {did: cart, within_days: 7, not_followed_by: order_paid}   the last one has no order after it
#   {never_did: order_refunded}                                or not within the last days: within_days
#   {sequence: [read, order_paid], max_days_apart: 7, within_days: 90}
#   {most_frequent: category_l1, of: [view, cart], within_days: 90, eq: skincare}    also first:, last:
#   {top: brand, places: 3, of: item_paid, in: [a, b]}         one of them is among the three most frequent
#   {funnel: shop_view_cart_buy, at_step: cart}                got so far, and not to the next step
"""
_OF_USERS = """\
#   {tag: coupon_user}   {tag: spending_power, eq: high}       a tag is set, or has a value
#   {audience: second_order}                                   is a member
"""
_SEVERAL = """\
#   all: / any: with a list of conditions, not: with one; put them into each other as you like, for example
#   all:
#     - {column: orders_count, gte: 1}
#     - not: {did: order_paid, within_days: 60}
"""
_AUDIENCE = """\

audience: {name}
title: {{zh: , en: }}   # <- what people read, in Chinese and in English
owner:                # <- who answers for it
description:          # <- what it is for, in a sentence

# Who is meant. A condition is one of
{conditions}\
who:                  # <- a condition, here or indented below

# Who is left out though meant: reason: condition. The first reason that holds is the one the preview shows.
suppress:
  blocked: {{column: is_blocked, eq: true}}
  consent_withdrawn: {{column: is_marketing_withdrawn, eq: true}}   # not where the message is a service
{unsubscribed}
# At most so many, and who comes first:
# limit: 5000
# rank_by:
#   - {{column: net_amount_365d}}

holdout: {{percent: 10}}   # left alone, so that the effect can be measured

# What the file holds beside user_id.
export:
  identifiers: [contact_id, phone]   # as few as the purpose needs
  columns: [days_since_order, orders_count, net_amount_365d]
  # tags: [spending_power]
  # formats: [csv, xlsx]

# expires_on: 2027-12-31   # last day with members
"""
_TAG = """\

family: {name}
title: {{zh: , en: }}   # <- name of the family of tags, in Chinese and in English
category:             # <- one of {categories}
owner:                # <- who answers for it

tags:
  - tag: {name}
    title: {{zh: , en: }}   # <- name of the tag
    description:          # <- what it means, for those who use it
    # What sets it. A condition is one of
{conditions}\
    when:                 # <- a condition, here or indented below
    # Instead of when, a tag may have values, of which the first that holds is taken:
    # cases:
    #   - {{value: high, title: {{zh: 高, en: High}}, when: {{column: views_count_30d, gte: 20}}}}
    #   - {{value: low, title: {{zh: 低, en: Low}}, when: {{column: views_count_30d, gte: 1}}}}
    # or take the value of a column:
    # column: top_category
    # needs: [usual_hour]              # without these columns it cannot be said whether it holds
    # confirmed_by: last_active_date   # a day, from which the days of validity count
    # validity_days: 90
    # status: draft                    # stands in the catalogue and is not computed
"""
_FUNNEL = """\

name: {name}
title: {{zh: , en: }}   # <- what people read, in Chinese and in English
owner:                # <- who answers for it
description:          # <- what it tells, in a sentence

# Steps in order: what has to happen. These two are an example.
steps:
  - {{name: view, label: {{zh: 浏览, en: View}}, activity: view}}
  - {{name: pay, label: {{zh: 支付, en: Order paid}}, activity: order_paid}}
  # - name: big
  #   label: {{zh: 大单, en: Large order}}
  #   activity: [order_paid]               # several: any of them counts
  #   where: {{column: amount, gte: 500}}

window: 7d              # from the first to the last step, both included: 30m, 36h, 7d or none
period: [all, month]    # by when the first step happened: all, month, week, day

# order: ordered          # strict: nothing else in between; any_order
# hold_constant: product_id   # per user and product
# breakdown:
#   - {{column: acquisition_channel}}
"""


def new_spec(kind: NewKind, name: str, dbt_dir: Path = DBT_PROJECT_DIR) -> Path:
    """Write the file of a new audience, tag (in a family of its own), funnel or activation line.

    Raises UsageError for a name that is none, or that is taken.
    """
    try:
        checked_name(name)
    except PydanticCustomError as error:
        raise UsageError(error.message()) from error
    project, _ = read_project(dbt_dir)
    folder = dbt_dir / "specs" / _FOLDERS[kind]
    taken = [file for suffix in (".yml", ".yaml") if (file := folder / (name + suffix)).exists()]
    place = str(taken[0].relative_to(dbt_dir.parent)) if taken else _declared(kind, project).get(name)
    if place:
        raise UsageError(f"There is already {'an' if kind[0] == 'a' else 'a'} {kind} {name}: {place}.")
    file = folder / f"{name}.yml"
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8", newline="\n") as target:
        target.write(_text(kind, name, project))
    return file


def _declared(kind: NewKind, project: Project) -> dict[str, str]:
    """Names of a kind, with the file that declares each."""
    if kind == "activation":
        return {
            entry.spec.activation: entry.document.file
            for entry in project.below("activations", ActivationSpec)
        }
    if kind == "audience":
        return {
            entry.spec.audience: entry.document.file for entry in project.below("audiences", AudienceSpec)
        }
    if kind == "funnel":
        return {
            name: entry.document.file
            for entry in project.below("funnels", FunnelSpec)
            for name in (entry.spec.name, *declared_names(entry.spec))
        }
    return {
        tag.tag: entry.document.file
        for entry in project.below("tags", TagFamilySpec)
        for tag in entry.spec.tags
    }


def _text(kind: NewKind, name: str, project: Project) -> str:
    if kind == "activation":
        return _ACTIVATION_HEAD.format(name=name) + _ACTIVATION.format(name=name)
    head = _HEAD.format(folder=_FOLDERS[kind], name=name)
    if kind == "funnel":
        return head + _FUNNEL.format(name=name)
    if kind == "tag":
        indented = "".join(f"    {line}\n" for line in (_CONDITIONS + _SEVERAL).splitlines())
        return head + _TAG.format(name=name, conditions=indented, categories=", ".join(CATEGORY_LABELS))
    tags = _declared("tag", project)
    return head + _AUDIENCE.format(
        name=name,
        conditions=_CONDITIONS + _OF_USERS + _SEVERAL,
        unsubscribed="  unsubscribed: {tag: unsubscribed}\n" if "unsubscribed" in tags else "",
    )
