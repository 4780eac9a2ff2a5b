"""From `<home>/destinations.yml` to destinations.

    crm:
      kind: webhook
      url: https://crm.example.com/hooks/jingxi
      secret: {env: CRM_WEBHOOK_SECRET}

A kind is a name of `KINDS`, or `package.module:Class` for one that lives outside of this project.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.destinations.clock import Clock, SystemClock
from orchestration.destinations.protocol import Destination
from orchestration.errors import UsageError

KINDS: Mapping[str, str] = {
    "local_files": "orchestration.destinations.local_files:LocalFiles",
    "s3": "orchestration.destinations.s3:S3Files",
    "sftp": "orchestration.destinations.sftp:SftpFiles",
    "ad_matching": "orchestration.destinations.ad_matching:AdMatching",
    "webhook": "orchestration.destinations.webhook:Webhook",
    "wecom_tags": "orchestration.destinations.wecom_tags:WeComTags",
    "wecom_messages": "orchestration.destinations.wecom_messages:WeComMessages",
    "aliyun_sms": "orchestration.destinations.sms:AliyunSms",
    "postgres": "orchestration.destinations.postgres:PostgresTable",
}
"""Module and class of each kind; imported only when used, so a missing extra hurts only who needs it."""

EXTRAS: Mapping[str, str] = {"boto3": "s3", "botocore": "s3", "paramiko": "sftp", "psycopg": "postgres"}

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


class DestinationSettings(BaseModel):
    """Base of the settings of a kind: unknown names are refused, values never shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Surroundings:
    """What a destination may use beside its settings: the home's folder and time."""

    home: Path
    clock: Clock = field(default_factory=SystemClock)


class DestinationClass(Protocol):
    """A class that can be a kind."""

    Settings: type[DestinationSettings]

    def __call__(self, name: str, settings: Any, surroundings: Surroundings) -> Destination:
        """Make the destination; no call, no secret is read."""
        ...


def destinations_file(home: Path) -> Path:
    """Where a home declares its destinations."""
    return home / "destinations.yml"


def load_destinations(home: Path, *, clock: Clock | None = None) -> dict[str, Destination]:
    """All destinations that the home declares, none without the file; makes no call.

    Raises UsageError with the file, the destination and the setting that is wrong.
    """
    file = destinations_file(home)
    try:
        declared = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{file}{line} is not YAML: check indentation and colons.") from None
    if not isinstance(declared, dict):
        raise UsageError(f"{file} must hold destinations by name: `name: {{kind: ...}}`.")
    surroundings = Surroundings(home, clock or SystemClock())
    return {str(name): build(str(name), entry, surroundings, file=file) for name, entry in declared.items()}


def build(
    name: str, declared: object, surroundings: Surroundings, *, file: Path | str = "destinations.yml"
) -> Destination:
    """One destination from its declaration. Raises UsageError."""
    where = f"{file}: the destination {name}"
    if not _NAME.match(name):
        raise UsageError(
            f"{file}: a destination's name is 1 to 64 of a-z, 0-9, hyphen and underscore, a letter first."
        )
    if not isinstance(declared, dict) or not isinstance(declared.get("kind"), str):
        raise UsageError(f"{where} needs a kind: one of {', '.join(KINDS)}.")
    own = _class(declared["kind"], where)
    settings = {key: value for key, value in declared.items() if key != "kind"}
    try:
        checked = own.Settings.model_validate(settings)
    except ValidationError as error:
        raise UsageError(f"{where}: {_problems(error)}") from None
    return own(name, checked, surroundings)


def _class(kind: str, where: str) -> DestinationClass:
    path = KINDS.get(kind, kind)
    module, colon, own = path.partition(":")
    if not colon:
        raise UsageError(f"{where} has the unknown kind {kind}: choose from {', '.join(KINDS)}.")
    try:
        found: DestinationClass = getattr(importlib.import_module(module), own)
    except ImportError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra:
            raise UsageError(f"{where} needs a package: pip install 'jingxi[{extra}]'.") from None
        raise UsageError(f"{where}: the module {module} cannot be imported ({error.name}).") from None
    except AttributeError:
        raise UsageError(f"{where}: the module {module} has no {own}.") from None
    return found


def _problems(error: ValidationError) -> str:
    """What is wrong with the settings, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
