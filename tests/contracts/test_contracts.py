"""Every destination passes every check of the contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contracts import harnesses
from tests.contracts.contract import CHECKS, Harness, NotApplicable
from tests.fakes.postgres import running_postgres
from tests.fakes.s3 import FakeS3

SIMPLE: dict[str, Callable[[Path, dict[str, str]], Harness]] = {
    "local_files": harnesses.LocalHarness,
    "sftp": harnesses.SftpHarness,
    "ad_matching": harnesses.MatchingHarness,
    "webhook": harnesses.WebhookHarness,
    "wecom_tags": harnesses.WeComTagsHarness,
    "wecom_messages": harnesses.WeComMessagesHarness,
    "aliyun_sms": harnesses.SmsHarness,
}


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """The process's environment; what a harness puts in is taken out again."""
    before = dict(os.environ)
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


def run_check(name: str, harness: Harness) -> None:
    try:
        CHECKS[name](harness)
    except NotApplicable:
        pytest.skip("the destination does not claim what this check is about")
    finally:
        harness.close()


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("kind", SIMPLE)
def test_contract(kind: str, name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    run_check(name, SIMPLE[kind](tmp_path, environment))


@pytest.fixture(scope="module")
def s3_server() -> Iterator[FakeS3]:
    server = FakeS3()
    yield server
    server.stop()


@pytest.mark.parametrize("name", CHECKS)
def test_contract_of_s3(name: str, tmp_path: Path, environment: dict[str, str], s3_server: FakeS3) -> None:
    run_check(name, harnesses.S3Harness(tmp_path, environment, s3_server))


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.mark.parametrize("name", CHECKS)
def test_contract_of_postgres(
    name: str, tmp_path: Path, environment: dict[str, str], postgres_url: str
) -> None:
    run_check(name, harnesses.PostgresHarness(tmp_path, environment, postgres_url))
