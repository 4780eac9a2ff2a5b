"""Cells of files that people open in a spreadsheet.

A spreadsheet runs a cell that starts like a formula, shows long digit strings in scientific form and drops
leading zeros. The rules here keep text text; the SQL forms work on whole columns.
"""

from __future__ import annotations

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters that may start a formula, or hide one (ASCII and full width)."""

LONGEST_SAFE_DIGITS = 11
"""A spreadsheet shows digit strings beyond this length in scientific form."""

_DIGITS_AT_RISK = f"0[0-9]+|[0-9]{{{LONGEST_SAFE_DIGITS + 1},}}"


def starts_like_formula(text: str) -> bool:
    """Whether a spreadsheet might run this text."""
    return text.startswith(FORMULA_STARTS)


def sql_starts_like_formula(expression: str) -> str:
    """SQL condition: the text `expression` starts like a formula."""
    starts = ", ".join(f"chr({ord(start)})" for start in FORMULA_STARTS)
    return f"left({expression}, 1) in ({starts})"


def sql_digits_at_risk(expression: str) -> str:
    """SQL condition: a spreadsheet would change the digits of the text `expression`."""
    return f"regexp_full_match({expression}, '{_DIGITS_AT_RISK}')"


def sql_human_csv_text(expression: str) -> str:
    """SQL of a text cell in a CSV for people.

    A text that starts like a formula gets a leading apostrophe, digits at risk get a leading tab; an empty text
    becomes null, so that both are an empty cell.
    """
    return (
        f"case when {sql_starts_like_formula(expression)} then chr(39) || {expression} "
        f"when {sql_digits_at_risk(expression)} then chr(9) || {expression} "
        f"else nullif({expression}, '') end"
    )
