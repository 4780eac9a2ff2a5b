"""Settings of one home: scalars, validated, from flags, environment, file and defaults in that order."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestration.errors import UsageError
from orchestration.home import Home
from orchestration.timezones import steady_offset

ENVIRONMENT_PREFIX = "JINGXI_SET_"
Source = Literal["default", "file", "environment", "flag"]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IntakeConfig(_Group):
    """Taking files in."""

    arrived_on: Literal["auto", "row_date"] | dt.date = Field(
        "auto",
        description="Day on which rows count as known: auto (dt= in the path, else the row's own date in the "
        "first intake, else the day of intake), row_date, or one fixed day",
    )
    max_failed_share: float = Field(
        0.05, ge=0, le=1, description="Share of a column that may fail its type before a file is refused"
    )


class RfmConfig(_Group):
    """RFM scores and cells (semantics of each method: dbt_project/docs)."""

    window_days: int | None = Field(
        None, gt=0, description="Days looked back, both ends included; empty = all"
    )
    frequency: Literal["days", "orders"] = Field("days", description="Count order days or orders")
    monetary: Literal["net", "gross"] = Field("net", description="Money net of refunds or gross")
    scoring: Literal["quantile", "bounds"] = Field("quantile", description="Score by quantile or by bounds")
    recency_bounds: tuple[int, int, int, int] = Field(
        (30, 60, 120, 240), description="Days: at most the first scores 5, above the last scores 1"
    )
    frequency_bounds: tuple[int, int, int, int] = Field(
        (1, 2, 4, 8), description="Above the last scores 5, at most the first scores 1"
    )
    monetary_bounds: tuple[float, float, float, float] = Field(
        (100, 300, 1000, 3000), description="Above the last scores 5, at most the first scores 1"
    )
    split: Literal["mean", "median", "fixed", "raw_mean"] = Field(
        "mean", description="High when above the mean score, the median score, a fixed score, or the raw mean"
    )
    fixed_cut: float = Field(3, ge=1, le=5, description="Score above which fixed counts as high")
    next_step_days: int = Field(
        14, ge=1, le=365, description="Days from as_of in which the next step is to be taken (rfm_next_step)"
    )

    @model_validator(mode="after")
    def _bounds_rise(self) -> RfmConfig:
        for name in ("recency_bounds", "frequency_bounds", "monetary_bounds"):
            bounds = getattr(self, name)
            if list(bounds) != sorted(set(bounds)):
                raise ValueError(f"{name} must rise from left to right")
        return self


class AiplConfig(_Group):
    """Stages of AIPL (behaviours of each: seeds/rules/aipl_behaviours.csv)."""

    since_days: int = Field(
        90, ge=1, le=3650, description="Days looked back for the day on which aware or interest began"
    )


class LayersConfig(_Group):
    """Layers by value and by engagement (mart user_layers); per cent, rising."""

    value_tops: tuple[int, int, int] = Field(
        (1, 5, 20), description="Per cent of spending users who are top, up to high, up to middle"
    )
    revenue_shares: tuple[int, int] = Field(
        (80, 95), description="Per cent of revenue that the layers first, and first and next, make"
    )
    engagement_shares: tuple[int, int] = Field(
        (50, 80), description="Per cent of active days that the layers core, and core and regular, make"
    )

    @model_validator(mode="after")
    def _shares_rise(self) -> LayersConfig:
        for name in ("value_tops", "revenue_shares", "engagement_shares"):
            shares = getattr(self, name)
            if list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] < 100:
                raise ValueError(f"{name} must rise from left to right, between 0 and 100")
        return self


class ClustersConfig(_Group):
    """Behaviour clusters (marts user_clusters, cluster_profiles; starts: seeds/rules/cluster_archetypes.csv)."""

    sample_users: int = Field(
        20_000, ge=100, description="Users whose behaviour moves the centres; everybody is assigned"
    )


class ServiceConfig(_Group):
    """Who serves whom (mart user_service_assignment; rules: seeds/rules/service_rules.csv)."""

    koc_invited: int = Field(3, ge=1, description="Invited people who joined from which a user is a KOC")


class LifecycleConfig(_Group):
    """New and old customers, active and lost ones."""

    new_days: int = Field(30, gt=0, description="Days from the first sight in which a user is new")
    dormant_days: int = Field(30, gt=0, description="Days without activity from which a user is dormant")
    lost_days: int = Field(180, gt=0, description="Days without activity from which a user is lost")

    @model_validator(mode="after")
    def _lost_after_dormant(self) -> LifecycleConfig:
        if self.lost_days <= self.dormant_days:
            raise ValueError("lost_days must be greater than dormant_days")
        return self


class CycleConfig(_Group):
    """Purchase cycles and what is due to be bought again (marts user_purchase_cycle, replenishment_due)."""

    prior_intervals: float = Field(
        2, ge=0, le=100, description="Own intervals that the days a product lasts count as"
    )
    min_intervals: int = Field(
        2,
        ge=1,
        description="Own intervals from which a product counts of which nobody says how long it lasts",
    )
    horizon_days: int = Field(7, ge=0, le=365, description="Days ahead in which a product is due")
    max_overdue_ratio: float = Field(
        2,
        ge=1,
        le=1000,
        description="Expected intervals since the last purchase from which it is due no more",
    )


class NextCategoryConfig(_Group):
    """Which category a customer buys next (user_wide.next_category; marts next_category_shares, next_category_hits)."""

    prior_customers: float = Field(
        10, ge=0, le=10_000, description="Customers that the base shares of all categories count as"
    )
    min_customers: int = Field(
        20,
        ge=1,
        description="Customers who bought again after a category from which anything is predicted of it",
    )
    sample_customers: int = Field(
        10_000, ge=100, description="Customers whose purchases the shares are made of; everybody is predicted"
    )
    test_days: int = Field(
        30, ge=1, le=365, description="Days before as_of up to which predictions are made to be tested"
    )


class BestTimeConfig(_Group):
    """When and through which channel a user is reached best (user_wide.best_hour, best_channel)."""

    min_answers: int = Field(3, ge=1, description="Answered messages in 90 days from which they decide")
    min_activities: int = Field(
        10, ge=1, description="Own activities in 90 days from which they decide when messages do not"
    )


class HistoryConfig(_Group):
    """By-date tables."""

    days: int = Field(
        3, ge=1, le=400, description="Business days up to as_of that membership history holds without a gap"
    )
    wide_days: int = Field(
        7, ge=1, le=400, description="Business days up to as_of for which user_wide_daily is kept"
    )
    wide_month_ends: int = Field(
        13, ge=0, le=240, description="Months before that of as_of whose last day user_wide_daily keeps"
    )
    activity_days: int = Field(
        400,
        ge=1,
        le=3650,
        description="Business days up to as_of whose activities are published (user_activities), so that a preview can "
        "count them; what is built counts all",
    )
    late_rows: Literal["exclude", "include"] = Field(
        "exclude",
        description="Rows that happened by as_of and arrived later: exclude (what was known then) or include "
        "(what is known now of that day)",
    )

    def known_until(self, as_of: dt.date) -> dt.date:
        """The last day of arrival on which a file counts for `as_of`."""
        return dt.date.max if self.late_rows == "include" else as_of

    def kept_wide_days(self, as_of: dt.date) -> list[dt.date]:
        """Days for which user_wide_daily is kept when `as_of` is its latest day; earliest first."""
        days = {as_of - dt.timedelta(days=back) for back in range(self.wide_days)}
        first = as_of.replace(day=1)
        for _ in range(self.wide_month_ends):
            days.add(first - dt.timedelta(days=1))
            first = (first - dt.timedelta(days=1)).replace(day=1)
        return sorted(days)


class TimelineConfig(_Group):
    """What the timeline of a user holds."""

    activities: int = Field(
        50,
        ge=0,
        le=1000,
        description="Latest activities of a user, and as many statuses of messages; 0 = no timeline",
    )
    days: int = Field(365, ge=1, le=3650, description="Business days up to as_of that it looks back")


class HealthConfig(_Group):
    """When input counts as unusual (rules per table: seeds/rules/data_health_rules.csv)."""

    weeks: int = Field(8, ge=4, le=26, description="Weeks of a table's own past that a day is compared with")
    warn_deviations: float = Field(
        4, ge=2, le=20, description="Standard deviations from the usual at which a check warns"
    )
    fail_deviations: float = Field(
        6, ge=2, le=50, description="Standard deviations from the usual at which a check fails"
    )
    least_rows: int = Field(20, ge=5, description="Rows of a day below which a share says nothing")

    @model_validator(mode="after")
    def _fail_after_warn(self) -> HealthConfig:
        if self.fail_deviations < self.warn_deviations:
            raise ValueError("fail_deviations must not be below warn_deviations")
        return self


class PublishConfig(_Group):
    """Published versions."""

    keep_versions: int = Field(3, ge=1, description="Parquet versions kept, the current one included")


class ActivationConfig(_Group):
    """Sending to destinations."""

    ledger_url: str | None = Field(
        None,
        description="Where the ledger lies, as an SQLAlchemy URL without a password, such as "
        "postgresql+psycopg://jingxi@db/jingxi (password: PGPASSWORD or .pgpass); empty: ledger.sqlite in the home",
    )
    max_age_days: int = Field(
        2,
        ge=0,
        le=36_500,
        description="Days since the marts were published, or that they lag behind, up to which they are sent",
    )

    alert_robot_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable with the key of a WeCom group robot that is told the first failure of a line and "
        "its recovery; empty: logs/alerts.log only",
    )

    @field_validator("ledger_url")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value and re.search(r"//[^/@]*:[^/@]*@", value):
            raise ValueError("must not hold a password; give it in PGPASSWORD")
        return value


class EngineConfig(_Group):
    """DuckDB."""

    memory_limit: str = Field("4GB", pattern=r"^\d+(\.\d+)?\s*(MB|GB|MiB|GiB)$", description="Memory limit")
    threads: int | None = Field(None, gt=0, description="Threads; empty = all cores")


class ScheduleConfig(_Group):
    """When the daily run starts, in business time."""

    hour: int = Field(2, ge=0, le=23, description="Hour of the day, business time")
    minute: int = Field(0, ge=0, le=59, description="Minute")
    first_day: dt.date = Field(dt.date(1990, 1, 1), description="First business day that can be run")


class Settings(_Group):
    """All settings of a home."""

    business_timezone: str = Field("Asia/Shanghai", description="Time zone of the business day")
    currency: str = Field("CNY", pattern=r"^[A-Z]{3}$", description="Currency of every amount")
    intake: IntakeConfig = IntakeConfig()
    rfm: RfmConfig = RfmConfig()
    aipl: AiplConfig = AiplConfig()
    layers: LayersConfig = LayersConfig()
    clusters: ClustersConfig = ClustersConfig()
    service: ServiceConfig = ServiceConfig()
    lifecycle: LifecycleConfig = LifecycleConfig()
    cycle: CycleConfig = CycleConfig()
    next_category: NextCategoryConfig = NextCategoryConfig()
    best_time: BestTimeConfig = BestTimeConfig()
    history: HistoryConfig = HistoryConfig()
    timeline: TimelineConfig = TimelineConfig()
    health: HealthConfig = HealthConfig()
    publish: PublishConfig = PublishConfig()
    activation: ActivationConfig = ActivationConfig()
    engine: EngineConfig = EngineConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @field_validator("business_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no time zone") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The business time zone."""
        return ZoneInfo(self.business_timezone)

    def business_day(self, moment: dt.datetime | None = None) -> dt.date:
        """The business day of a moment (aware), by default of now."""
        return (moment or dt.datetime.now(dt.UTC)).astimezone(self.zone).date()

    def dbt_vars(self) -> dict[str, Any]:
        """What the models read as dbt vars. Always complete, so that dbt's partial parse stays valid."""
        dumped = self.model_dump(mode="json")
        steady = steady_offset(self.business_timezone)
        names: dict[str, Any] = {
            "business_timezone": self.business_timezone,
            "business_offset": {
                "timezone": self.business_timezone,
                "since": steady.since.isoformat(),
                "seconds": steady.seconds,
            }
            if steady
            else None,
        }
        for group in (
            "rfm",
            "aipl",
            "layers",
            "clusters",
            "service",
            "lifecycle",
            "cycle",
            "next_category",
            "best_time",
            "history",
            "timeline",
            "health",
        ):
            names |= {f"{group}_{name}": value for name, value in dumped[group].items()}
        return names

    def fixed(self) -> dict[str, str]:
        """Settings that days and amounts of a home depend on: they cannot change once it holds data."""
        return {"business_timezone": self.business_timezone, "currency": self.currency}

    def fingerprint(self) -> str:
        """SHA-256 over the settings that change what is computed (not how or when it runs)."""
        return hashlib.sha256(json.dumps(self.dbt_vars(), sort_keys=True).encode()).hexdigest()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[leaf] = value
    return nested


def setting_names() -> list[str]:
    """All names that `--set` takes, as `group.name`."""
    return list(_flatten(Settings().model_dump()))


def _read_file(file: Path, *, needed: bool) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if needed:
            raise UsageError(f"The settings file {file} does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The settings file {file} cannot be read: {error}.") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{file}{line} is not valid YAML: {getattr(error, 'problem', error)}.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{file} must hold names and values, such as `rfm: {{frequency: orders}}`.")
    return values


def load_settings(
    home: Home, *, settings_file: Path | None = None, overrides: Sequence[str] = ()
) -> tuple[Settings, dict[str, Source]]:
    """Settings of a home and where each came from.

    Precedence: `overrides` (`group.name=value`), then environment variables JINGXI_SET_GROUP__NAME, then the
    file (`settings_file` or <home>/jingxi.yml), then defaults. Raises UsageError with the name and what is allowed.
    """
    known = {name.upper().replace(".", "__"): name for name in setting_names()}
    file = settings_file or home.settings_file
    values: dict[str, Any] = {}
    sources: dict[str, Source] = dict.fromkeys(known.values(), "default")

    def take(name: str, value: Any, source: Source, where: str) -> None:
        if name not in sources:
            raise UsageError(f"{where}: there is no setting {name!r}. {_nearest(name)}")
        values[name] = value
        sources[name] = source

    for name, value in _flatten(_read_file(file, needed=settings_file is not None)).items():
        take(name, value, "file", str(file))
    for variable, text in os.environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            key = variable.removeprefix(ENVIRONMENT_PREFIX)
            take(
                known.get(key, key.lower().replace("__", ".")),
                _value(text, variable),
                "environment",
                variable,
            )
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator:
            raise UsageError(f"--set {override}: write it as name=value, such as rfm.frequency=orders.")
        take(name.strip(), _value(text, f"--set {override}"), "flag", f"--set {override}")
    try:
        return Settings.model_validate(_nest(values)), sources
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if str(part) in _parts())
        origin = sources.get(name, "file")
        where = {"file": str(file), "flag": f"--set {name}", "environment": "environment"}.get(
            origin, str(file)
        )
        raise UsageError(f"{where}: setting {name or 'settings'}: {first['msg']}.") from error


def _value(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"{where}: the value cannot be read; write a word, a number or a list such as [1, 2]."
        ) from error


def _parts() -> set[str]:
    return {part for name in setting_names() for part in name.split(".")}


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, setting_names(), n=1)
    return f"Did you mean {close[0]!r}?" if close else "`jingxi doctor` lists all settings."
