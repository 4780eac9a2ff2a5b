"""The contact policy as the engine asks it: the published decisions when a run is planned, and consent, quiet hours and caps
once more at the moment of sending."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import duckdb

from orchestration.activation.caps import NewestMessages
from orchestration.activation.consent import NewestConsents
from orchestration.activation.ledger import Ledger
from orchestration.activation.lines import Line
from orchestration.activation.payload import Keys
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.specs.contact_rules import ContactRules, read_contact_caps, read_contact_rules

NO_DECISION = "no_decision"
QUIET_HOURS = "quiet_hours"
CAP = "cap"


class Reaching(Protocol):
    """What the policy needs of an activation line."""

    @property
    def activation(self) -> str:
        """Name of the line."""

    @property
    def purpose(self) -> str:
        """marketing or service."""

    @property
    def channel(self) -> str:
        """Channel on which users are reached."""


class PublishedPolicy:
    """Decides who may be reached. Reasons are the rules of the mart contact_policy_decisions."""

    def __init__(
        self,
        settings: Settings,
        rules: ContactRules,
        consents: NewestConsents,
        messages: NewestMessages | None = None,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._consents = consents
        self._messages = messages

    def held(
        self, session: duckdb.DuckDBPyConnection, line: Reaching, now: dt.datetime
    ) -> Iterable[tuple[str, str]]:
        """(user_id, rule) of those of the temp table `planned_users(user_id)` whom the line may not reach.

        The session has `marts` attached. Without a decision (a line that was declared after the last build) nobody is
        reached.
        """
        session.execute(
            """
            select planned.user_id, coalesce(decisions.rule, $no_decision)
            from (select distinct user_id from planned_users) as planned
            left join marts.main.contact_policy_decisions as decisions
                on decisions.user_id = planned.user_id and decisions.activation = $activation
            where not coalesce(decisions.is_allowed, false)
            order by planned.user_id
            """,
            {"activation": line.activation, "no_decision": NO_DECISION},
        )
        return [(str(user), str(rule)) for user, rule in session.fetchall()]

    def refused_now(self, line: Reaching, users: Sequence[str], now: dt.datetime) -> Mapping[str, str]:
        """user_id → rule of those who may not be reached at `now` (aware): consent, erasure, contact, quiet hours, caps.

        Raises ConsentError when it cannot be read who withdrew the consent or got messages, LedgerError.
        """
        if not users:
            return {}
        rule = self._rules.rule(line.channel, line.purpose)
        refused = self._consents.refused(
            purpose=line.purpose, channel=line.channel, needs_contact=rule.needs_contact, at=now
        )
        found = {user: refused[user] for user in users if user in refused}
        if rule.is_quiet(now.astimezone(self._settings.zone).time()):
            found |= dict.fromkeys((user for user in users if user not in found), QUIET_HOURS)
        elif self._messages is not None:
            full = self._messages.full(line.activation, now)
            found |= dict.fromkeys((user for user in users if user in full and user not in found), CAP)
        return found

    def disturbs(self, line: Reaching) -> bool:
        """Whether users notice what the line does: then its deliveries are touches."""
        return self._rules.rule(line.channel, line.purpose).disturbs


def contact_policy(
    home: Home, settings: Settings, *, ledger: Ledger | None = None, lines: Iterable[Line] = ()
) -> PublishedPolicy:
    """The contact policy of a home; with the ledger and all lines, caps are counted once more at the moment of sending.

    Raises SpecError when its rules are wrong.
    """
    rules, consents = read_contact_rules(), NewestConsents(home, settings)
    if ledger is None:
        return PublishedPolicy(settings, rules, consents)
    keys = Keys(home.secret_key())
    messages = NewestMessages(settings, consents, ledger, keys, lines, rules, read_contact_caps())
    return PublishedPolicy(settings, rules, consents, messages)
