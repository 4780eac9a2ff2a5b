"""Files in an S3-compatible bucket: `<prefix>/<activation>/<run>/<word that nobody guesses>/`.

Objects are made with `If-None-Match: *`, so nothing of somebody else's is ever overwritten; the manifest comes last.
The word is derived from the home's secret key: a run that is repeated finds its own objects.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.config
import botocore.exceptions as failures
from pydantic import Field

from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
)
from orchestration.destinations.file_stores import (
    Collector,
    FileDestination,
    FileSettings,
    TableCollector,
)
from orchestration.destinations.http import HttpRules, check_url
from orchestration.destinations.protocol import RunInfo
from orchestration.destinations.record_files import MANIFEST
from orchestration.destinations.registry import Surroundings
from orchestration.destinations.secrets import SecretSource
from orchestration.home import Home
from orchestration.writing import files

LARGEST_OBJECT_BYTES = 5 * 2**30
_DENIED = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403", "Forbidden"}
)
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_THERE = frozenset({"PreconditionFailed", "412"})

# The client's own debug lines hold headers and bodies.
for _own in ("boto3", "botocore", "s3transfer"):
    logging.getLogger(_own).setLevel(logging.WARNING)


class S3Settings(FileSettings):
    """`endpoint_url` is needed for every service but Amazon's own."""

    bucket: str = Field(min_length=3)
    region: str = "us-east-1"
    endpoint_url: str | None = None
    prefix: str = Field(default="jingxi", pattern=r"^[a-z0-9_-]{1,64}(/[a-z0-9_-]{1,64})*$")
    access_key: SecretSource
    secret_key: SecretSource
    session_token: SecretSource | None = None
    path_style: bool = False
    allow_loopback: bool = False
    timeout_seconds: float = Field(default=60.0, gt=0)


class S3Files(FileDestination):
    """Destination of kind `s3`."""

    Settings = S3Settings

    def __init__(self, name: str, settings: S3Settings, surroundings: Surroundings) -> None:
        super().__init__(name, surroundings.home, lambda: S3Store(settings, Home(surroundings.home)))
        self._settings = settings

    def collector(self, run: RunInfo, work: Path) -> Collector:
        """A table in the declared formats."""
        return TableCollector(run, self._settings.formats, work)


class S3Store:
    """A bucket."""

    def __init__(self, settings: S3Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._made: Any = None

    def check(self) -> None:
        """See that the bucket is there and these keys may use it. Raises DestinationError."""
        self._call(lambda client: client.head_bucket(Bucket=self._settings.bucket))

    def put(self, folder: Sequence[str], files_: Sequence[Path]) -> None:
        """Make the objects, in order. Raises DestinationError."""
        place = "/".join([self._settings.prefix, *folder, self._word(folder)])
        for own in files_:
            size = own.stat().st_size
            if size > LARGEST_OBJECT_BYTES:
                raise Halted("file_too_large", "A file is larger than the 5 GiB that one upload takes.")
            key, digest = f"{place}/{own.name}", files.sha256(own)
            if self._make(key, own, digest):
                continue
            if self._digest(key) == digest:
                continue
            # Of an earlier attempt at this run, with other content: no manifest while the files change.
            self._remove(f"{place}/{MANIFEST}")
            self._remove(key)
            if not self._make(key, own, digest):
                raise OutcomeUnknown("object_in_the_way")

    def close(self) -> None:
        """Close connections."""
        if self._made is not None:
            self._made.close()

    def _word(self, folder: Sequence[str]) -> str:
        text = "/".join(["s3", self._settings.bucket, *folder])
        return hmac.new(self._home.secret_key(), text.encode(), hashlib.sha256).hexdigest()[:32]

    def _make(self, key: str, file: Path, digest: str) -> bool:
        """Whether the object was made; False when one is there."""

        def put(client: Any) -> bool:
            try:
                with file.open("rb") as body:
                    client.put_object(
                        Bucket=self._settings.bucket,
                        Key=key,
                        Body=body,
                        IfNoneMatch="*",
                        ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
                        Metadata={"sha256": digest},
                    )
            except failures.ClientError as error:
                if _code(error) in _THERE:
                    return False
                raise
            return True

        return bool(self._call(put))

    def _remove(self, key: str) -> None:
        self._call(lambda client: client.delete_object(Bucket=self._settings.bucket, Key=key))

    def _digest(self, key: str) -> str | None:
        def head(client: Any) -> str | None:
            try:
                answer = client.head_object(Bucket=self._settings.bucket, Key=key)
            except failures.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            return str(answer.get("Metadata", {}).get("sha256"))

        found = self._call(head)
        return str(found) if found is not None else None

    def _call(self, do: Callable[[Any], object]) -> object:
        failure: DestinationError
        try:
            return do(self._client())
        except DestinationError:
            raise
        except (failures.BotoCoreError, failures.ClientError, OSError) as error:
            failure = _failure(error)
        raise failure

    def _client(self) -> Any:
        if self._made is None:
            own = self._settings
            if own.endpoint_url is not None:
                host = (urlsplit(own.endpoint_url).hostname or "").lower()
                check_url(own.endpoint_url, HttpRules(frozenset({host}), allow_loopback=own.allow_loopback))
            token = own.session_token.read() if own.session_token else None
            self._made = boto3.session.Session().client(
                "s3",
                region_name=own.region,
                endpoint_url=own.endpoint_url,
                aws_access_key_id=own.access_key.read(),
                aws_secret_access_key=own.secret_key.read(),
                aws_session_token=token,
                config=botocore.config.Config(
                    connect_timeout=min(10.0, own.timeout_seconds),
                    read_timeout=own.timeout_seconds,
                    retries={"max_attempts": 3, "mode": "standard"},
                    s3={"addressing_style": "path" if own.path_style else "auto"},
                    proxies={},
                ),
            )
        return self._made


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _failure(error: Exception) -> DestinationError:
    if isinstance(error, failures.ClientError):
        code = _code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _DENIED or status in {401, 403}:
            return PermissionDenied(code, "The store refuses these keys, or they may not use this bucket.")
        if code == "NoSuchBucket" or (status == 404 and code in _ABSENT):
            return ConfigurationError("no_such_bucket", "The bucket does not exist.")
        if code in {"SlowDown", "RequestLimitExceeded"} or status == 503:
            return Throttled(code)
        return (
            OutcomeUnknown(code) if status >= 500 else ConfigurationError(code, "The store refuses the call.")
        )
    if isinstance(error, failures.ParamValidationError):
        return ConfigurationError("bucket_unfit", "The bucket's name cannot be one.")
    if isinstance(error, failures.EndpointConnectionError | failures.ConnectTimeoutError):
        return NotSent("no_connection", "The store could not be reached.")
    return OutcomeUnknown("connection_broken")
