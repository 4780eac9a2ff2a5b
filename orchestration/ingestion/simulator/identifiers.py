"""Identifiers of people: each kind is a number per person, written out in SQL. All are visibly made up."""

from __future__ import annotations

import numpy as np

from orchestration.ingestion.simulator.window import Ints

KINDS: tuple[str, ...] = (
    "unionid",
    "openid",
    "contact_id",
    "member_id",
    "phone",
    "email",
    "device_id",
    "buyer_id",
    "lead_id",
)
UNIONID, OPENID, CONTACT, MEMBER, PHONE, EMAIL, DEVICE, BUYER, LEAD = range(len(KINDS))
# What a source writes where it knows nobody: an openid `anonymous`, a phone of zeros.
ANONYMOUS = len(KINDS)
ZERO_PHONE = ANONYMOUS + 1
NOBODY = -1

# Test devices and other things that are no person get numbers above every person's.
FIRST_TEST_DEVICE = 1 << 40

_ODD = 0x5_DEEC_E66D
_SPACE = 1 << 40

MACROS = f"""
create macro kind_name(kind) as case when kind >= 0 then
    [{", ".join(f"'{kind}'" for kind in (*KINDS, "openid", "phone"))}][kind + 1] end;
create macro identifier(kind, number) as case kind
    when {UNIONID} then format('uJX{{:010x}}', number)
    when {OPENID} then format('oJX{{:010x}}', number)
    when {CONTACT} then format('wmJX{{:010x}}', number)
    when {MEMBER} then format('M{{:09d}}', number)
    when {PHONE} then format('{{:011d}}', number)
    when {EMAIL} then format('user{{:07d}}@example.com', number)
    when {DEVICE} then format('dev-{{:010x}}', number)
    when {BUYER} then format('B{{:010d}}', number)
    when {LEAD} then format('L{{:08d}}', number)
    when {ANONYMOUS} then 'anonymous'
    when {ZERO_PHONE} then '00000000000'
end;
"""


def scrambled(person: Ints, seed: int, kind: int) -> Ints:
    """One number below 2**40 per person, different for every person, without a visible order."""
    offset = (seed * 1_000_003 + kind * 7_368_787) % _SPACE
    numbers = person.astype(np.uint64) * np.uint64(_ODD) + np.uint64(offset)
    return (numbers % np.uint64(_SPACE)).astype(np.int64)


def phone_number(person: Ints) -> Ints:
    """A phone number of 11 digits, 199 0000 00xx and up. The last digit is a check digit, so that a number with
    one digit wrong is nobody's number (weights 3 and 1 as in EAN-13)."""
    body = 1_990_000_000 + person.astype(np.int64)
    total = np.zeros(len(person), dtype=np.int64)
    for place in range(10):
        total += (body // 10**place) % 10 * (3 if place % 2 == 0 else 1)
    return body * 10 + (10 - total % 10) % 10


def mistyped(number: Ints, place: Ints, shift: Ints) -> Ints:
    """The phone number with the digit at `place` (0 = last) moved on by `shift` (1–9)."""
    unit = np.power(10, place, dtype=np.int64)
    digit = (number // unit) % 10
    return number + ((digit + shift) % 10 - digit) * unit
