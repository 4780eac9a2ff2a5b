"""The activation of one home, put together from its settings, specs, destinations and contact policy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from orchestration.activation.activate import Activation, HomeWriteError, Outcome, Plan
from orchestration.activation.alerts import LOGGER, note
from orchestration.activation.alerts import Alert as Noted
from orchestration.activation.contact_policy import contact_policy
from orchestration.activation.deliveries import LOOKED_BACK_DAYS, export_answers, export_deliveries
from orchestration.activation.ledger import Ledger, Run
from orchestration.activation.lines import Line, LineField, LineGuard
from orchestration.activation.payload import Keys
from orchestration.activation.plan import WarehousePlanner
from orchestration.activation.push import Patience, Progress, Tools
from orchestration.destinations.errors import DestinationError
from orchestration.destinations.protocol import Answering, Destination
from orchestration.destinations.registry import Surroundings, build, load_destinations
from orchestration.destinations.secrets import SecretSource
from orchestration.destinations.wecom_robot import Alert as RobotAlert
from orchestration.destinations.wecom_robot import StaffRobot
from orchestration.errors import JingxiError, LockedError, UsageError
from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.publishing.audience_guard import SizeGuard
from orchestration.settings import Settings
from orchestration.specs.activations import KIND, ActivationSpec, FieldSpec
from orchestration.specs.audiences import Audience
from orchestration.specs.documents import nearest
from orchestration.specs.loader import load_audiences, load_project

OUTBOX = "outbox"
_COUNTED = ("planned", "accepted", "rejected", "in_doubt", "held")


def declared_lines(dbt_dir: Path = DBT_PROJECT_DIR) -> dict[str, Line]:
    """All declared lines by name. Raises SpecError."""
    return _declared(dbt_dir)[0]


def _declared(dbt_dir: Path) -> tuple[dict[str, Line], dict[str, SizeGuard]]:
    project = load_project(dbt_dir)
    audiences = load_audiences(project)
    lines = {
        entry.spec.activation: _line(entry.spec, audiences[entry.spec.audience]) for entry in project.of(KIND)
    }
    guards = {
        name: SizeGuard(**audience.spec.guard.model_dump())
        for name, audience in audiences.items()
        if audience.spec.guard
    }
    return lines, guards


def _line(spec: ActivationSpec, audience: Audience) -> Line:
    return Line(
        activation=spec.activation,
        title=f"{spec.title.zh} · {spec.title.en}",
        audience=spec.audience,
        destination=spec.destination,
        mode=spec.mode,
        purpose=spec.purpose,
        channel=spec.channel,
        key=spec.key,
        fields=tuple(_field(name, source) for name, source in spec.fields.items()),
        priority=spec.priority,
        guard=LineGuard(spec.guard.max_change_percent, spec.guard.max_removed_percent),
        options={name: _constant(value) for name, value in spec.options.items()},
        content_id=spec.content_id or "",
        campaign_id=spec.campaign_id or "",
        audience_definition=audience.definition_hash,
    )


def _field(name: str, source: FieldSpec) -> LineField:
    if source.column is not None:
        return LineField(name, "column", source.column)
    if source.tag is not None:
        return LineField(name, "tag", source.tag)
    if source.identifier is not None:
        return LineField(name, "identifier", source.identifier)
    return LineField(name, "value", _constant(source.value))


def _constant(value: object) -> JsonValue:
    return value if value is None or isinstance(value, (str, int, bool)) else float(str(value))


def home_destinations(home: Home) -> dict[str, Destination]:
    """The destinations of a home: those it declares, and the folder `outbox` in the home. Makes no call, reads no secret.

    Raises UsageError.
    """
    declared = load_destinations(home.path)
    if OUTBOX not in declared:
        own = {"kind": "local_files", "folder": OUTBOX}
        declared = {OUTBOX: build(OUTBOX, own, Surroundings(home.path)), **declared}
    return declared


def destination_of(line: Line, destinations: Mapping[str, Destination]) -> Destination:
    """Where a line goes. Raises UsageError when the home does not declare it."""
    if line.destination not in destinations:
        raise UsageError(
            f"The activation {line.activation} goes to {line.destination!r}, which destinations.yml in the home does not "
            f"declare; {nearest(line.destination, list(destinations))}"
        )
    return destinations[line.destination]


def chosen_lines(
    lines: Mapping[str, Line], audience: str | None = None, destination: str | None = None
) -> list[Line]:
    """The lines of an audience (or one by its own name) to a destination, in the order of their priority.

    Raises UsageError when there is none.
    """
    found = [
        line
        for line in lines.values()
        if (audience is None or audience in (line.audience, line.activation))
        and (destination is None or line.destination == destination)
    ]
    if not found and (audience is not None or destination is not None):
        if audience is not None and not any(
            audience in (one.audience, one.activation) for one in lines.values()
        ):
            known = sorted({word for one in lines.values() for word in (one.audience, one.activation)})
            raise UsageError(
                f"No activation line has the audience or the name {audience!r}; {nearest(audience, known)}"
            )
        known = sorted({one.destination for one in lines.values()})
        raise UsageError(
            f"No activation line goes to {destination!r} like this; {nearest(str(destination), known)}"
        )
    return sorted(found, key=lambda line: (line.priority, line.activation))


@dataclass
class Desk:
    """Everything that `jingxi push`, `jingxi retry` and the assets need of a home. Close it when it is done."""

    home: Home
    settings: Settings
    ledger: Ledger
    lines: Mapping[str, Line]
    destinations: Mapping[str, Destination]
    activation: Activation
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    robot: StaffRobot | None = None

    def push(self, line: Line, *, approve: str | None = None, retry: bool = False) -> Outcome:
        """Push one line; the first failure and the recovery are alerts, and deliveries go back to the intake.

        Raises JingxiError.
        """
        try:
            outcome = self.activation.push(
                line, destination_of(line, self.destinations), approve=approve, retry=retry
            )
        except LockedError:
            raise  # somebody else is at it
        except JingxiError as error:
            self._alert(note(self.home, line, ok=False, sentence=str(error)), None)
            raise
        self._alert(note(self.home, line, ok=outcome.ok, sentence=outcome.sentence), outcome.run)
        try:
            self._bring_back(line)
        except OSError as error:
            raise HomeWriteError(self.home, line, error) from error
        return outcome

    def _bring_back(self, line: Line) -> None:
        """What was sent, and what the destination tells of earlier tasks, goes back to the intake."""
        answering = {name for name, one in self.destinations.items() if one.capabilities.answers}
        now = self.now()
        export_deliveries(self.home, self.settings, self.ledger, [line], at=now, answering=answering)
        destination = self.destinations.get(line.destination)
        if line.destination not in answering or not isinstance(destination, Answering):
            return
        lines = [one for one in self.lines.values() if one.destination == line.destination]
        since = now - dt.timedelta(days=LOOKED_BACK_DAYS)
        try:
            answers = list(destination.answers(since, now))
        except DestinationError as error:  # the next push asks again
            LOGGER.warning("%s does not tell what became of its tasks: %s", line.destination, error)
            return
        export_answers(self.home, self.settings, self.ledger, lines, answers, at=now)

    def _alert(self, noted: Noted | None, run: Run | None) -> None:
        """Tell the staff's group, where one is set; names and counts only. A robot that fails does not fail a push."""
        if noted is None or self.robot is None:
            return
        counts = {name: getattr(run, name) for name in _COUNTED} if run else {}
        waits = run is not None and run.state == "awaiting_approval"
        state: Literal["failed", "recovered", "held"] = "held" if waits else noted.kind
        try:
            self.robot.tell(RobotAlert(noted.activation, state, run.run_id if run else "none", counts=counts))
        except DestinationError as error:
            LOGGER.warning("The alert did not reach the staff's group: %s", error)

    def dry_run(self, line: Line, *, retry: bool = False) -> Plan:
        """What a push would plan; writes nothing, calls nothing. Raises JingxiError."""
        return self.activation.dry_run(line, destination_of(line, self.destinations), retry=retry)

    def line_of(self, run_id: str) -> tuple[Line, Run]:
        """The line of a run that the ledger knows. Raises UsageError when nothing declares it any more."""
        found = self.ledger.runs_by_id([run_id])
        if not found:
            raise UsageError(f"There is no run {run_id!r}; `jingxi push --runs` lists the last ones.")
        line = self.lines.get(found[0].activation)
        if line is None or line.destination != found[0].destination:
            raise UsageError(
                f"The run {run_id} belongs to {found[0].activation} to {found[0].destination}, which no spec declares."
            )
        return line, found[0]

    def approve(self, run_id: str) -> Outcome:
        """Let a held run go. Raises UsageError when it does not wait for that."""
        line, run = self.line_of(run_id)
        if run.state != "awaiting_approval":
            raise UsageError(f"The run {run_id} does not wait for approval: it is {run.state}.")
        if run.source != self.activation.planner.source(line):
            raise UsageError(
                f"The run {run_id} was planned from what is no longer published. Run `jingxi push {line.activation}` and "
                "look at what it says now."
            )
        return self.push(line, approve=run_id)

    def decide(self, run_id: str, *, sent: bool | Sequence[str]) -> Run:
        """Write down what a person says of the records in doubt; of `sent`, the keys that arrived, only hashes are kept.

        Raises JingxiError.
        """
        line, run = self.line_of(run_id)
        if not run.in_doubt:
            raise UsageError(f"Nothing of the run {run_id} is in doubt.")
        keys = Keys(self.home.secret_key())
        told = sent if isinstance(sent, bool) else {keys.of_key(line.key, key) for key in sent}
        done = self.ledger.decide(run_id, sent=told)
        self.activation.payload(self.home, run_id).remove()
        return done

    def close(self) -> None:
        """Give back what it holds."""
        self.ledger.dispose()
        if self.robot is not None:
            self.robot.close()


def open_desk(
    home: Home,
    settings: Settings,
    *,
    tell: Callable[[Line, Progress], None] = lambda line, progress: None,
    dbt_dir: Path = DBT_PROJECT_DIR,
    patience: Patience | None = None,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> Desk:
    """Put the activation of a home together; makes no call. Raises JingxiError."""
    if not home.secret_key_file.exists():
        raise JingxiError(f"Nothing is published in {home.path} yet: run `jingxi run` first.")
    lines, guards = _declared(dbt_dir)
    destinations = home_destinations(home)
    keys = Keys(home.secret_key())
    ledger = Ledger.open(home, settings.activation.ledger_url)
    policy = contact_policy(home, settings, ledger=ledger, lines=lines.values())

    def tools(line: Line) -> Tools:
        return Tools(
            ledger=ledger,
            keys=keys,
            refused_now=lambda users: policy.refused_now(line, users, now()),
            patience=patience or Patience(),
            tell=lambda progress: tell(line, progress),
        )

    planner = WarehousePlanner(home, settings, ledger, keys, policy, audience_guards=guards, now=now)
    key = settings.activation.alert_robot_env
    robot = StaffRobot(SecretSource(env=key)) if key else None
    activation = Activation(home, tools, ledger, planner)
    return Desk(home, settings, ledger, lines, destinations, activation, now, robot)
