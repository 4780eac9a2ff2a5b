"""What Jingxi raises.

JingxiError            the work failed; one sentence for a person; exit status 1
├── UsageError         the call, a setting or a spec is wrong; exit status 2
├── IntakeError        input that cannot be taken in; nothing was built
├── BuildError         dbt failed or a test did not pass; published marts are unchanged
├── PublishError       the new version could not be published; the old one stays
├── HeldError          an audience's size is beyond its guard; its last files stay
└── LockedError        another run writes to this home
"""

from __future__ import annotations


class JingxiError(Exception):
    """The work failed. The message is one sentence that says what to do."""

    exit_status = 1


class UsageError(JingxiError):
    """The call, a setting or a spec is wrong."""

    exit_status = 2


class IntakeError(JingxiError):
    """Input cannot be taken in. Nothing was built, nothing was lost."""


class BuildError(JingxiError):
    """The warehouse could not be built, or a test failed. Published marts are unchanged."""


class PublishError(JingxiError):
    """A new version could not be published. The old one stays."""


class HeldError(JingxiError):
    """The size of an audience is beyond its guard. Its last files stay until a person accepts the new size."""


class LockedError(JingxiError):
    """Another run writes to this home."""
