"""What a destination raises. The class says what the engine may take for granted of the records of the call.

DestinationError            `code` for programs and ledgers, `hint` for the person who repairs it
├── RunFailed               nothing of this call was taken; no further call can help; the run ends after this one call
│   ├── ConfigurationError  a setting, secret, field or template is wrong
│   ├── PermissionDenied    the destination does not let this caller in (address, scope, credentials)
│   └── Halted              the destination is closed for now: quota of the day, out of service
│       └── SwitchedOff     … for good: no call is made there until a person says that it is on again
├── BatchRefused            nothing of this batch was taken because something in it is wrong: the engine halves it
├── Throttled               nothing of this batch was taken: too fast; the engine pauses and keeps its place
├── NotSent                 surely never reached the destination (connection refused, name not found): tried again
└── OutcomeUnknown          perhaps taken: timeout, reset, 5xx, busy; replayed if idempotent, else in doubt

Neither `code` nor `hint` may hold personal data or secrets: they are printed, logged and kept. A code is a short word
of the destination's own (`errcode_40003`, `http_500`, `isv.MOBILE_NUMBER_ILLEGAL`), never text that it answered.
Anything else that escapes from a destination counts as OutcomeUnknown with the code `unexpected_error`, and ends the run.
"""

from __future__ import annotations

import re

from orchestration.errors import JingxiError

UNFIT_CODE = "unfit_code"
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_LIKE_A_NUMBER_OF_SOMEBODY = re.compile(r"[0-9]{7}")


def safe_code(code: str) -> str:
    """The code if it can be one, else `unfit_code`: text, and numbers as long as a phone's, are never kept."""
    return code if _CODE.match(code) and not _LIKE_A_NUMBER_OF_SOMEBODY.search(code) else UNFIT_CODE


class DestinationError(JingxiError):
    """A call to a destination went wrong. `hint` is one sentence that says what to do, without any value of a record."""

    def __init__(self, code: str, hint: str = "") -> None:
        self.code = safe_code(code)
        self.hint = hint
        super().__init__(f"{self.code}: {hint}" if hint else self.code)


class RunFailed(DestinationError):
    """Nothing of this call was taken, and no further call of this run can be."""


class ConfigurationError(RunFailed):
    """A setting, secret, field or template is wrong: a person must change it."""


class PermissionDenied(RunFailed):
    """The destination does not let this caller do this: address not allowed, scope, credentials."""


class Halted(RunFailed):
    """The destination takes nothing more for now: quota of the day or month, out of service."""


class SwitchedOff(Halted):
    """The receiver has switched this endpoint off for good. The engine remembers it and makes no further call."""


class BatchRefused(DestinationError):
    """Nothing of this batch was taken because at least one of its records is wrong."""


class Throttled(DestinationError):
    """Nothing of this batch was taken: too many calls. `retry_after` is in seconds; None: the engine's own pause."""

    def __init__(self, code: str, retry_after: float | None = None, hint: str = "") -> None:
        self.retry_after = None if retry_after is None else max(0.0, retry_after)
        super().__init__(code, hint)


class NotSent(DestinationError):
    """The call surely never reached the destination."""


class OutcomeUnknown(DestinationError):
    """The destination may or may not have taken the batch."""
