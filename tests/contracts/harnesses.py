"""A harness for each destination of the project."""

from __future__ import annotations

import csv
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from pydantic import JsonValue

from orchestration.destinations.ad_matching import matching_value
from orchestration.destinations.protocol import Record
from tests.contracts.contract import Harness, Trouble
from tests.fakes.postgres import PASSWORD
from tests.fakes.receiver import FakeReceiver
from tests.fakes.s3 import FakeS3
from tests.fakes.server import (
    RESET_AFTER,
    RESET_BEFORE,
    TIMEOUT_AFTER,
    TIMEOUT_BEFORE,
    FakeServer,
    Fault,
    ScaledClock,
)
from tests.fakes.sftp import FakeSftp
from tests.fakes.sms import FakeSms
from tests.fakes.wecom import FakeWeCom
from tests.unit.destination_support import build_in, record, run_of

FAULTS: Mapping[Trouble, Fault] = {
    "timeout_before": TIMEOUT_BEFORE,
    "timeout_after": TIMEOUT_AFTER,
    "reset_before": RESET_BEFORE,
    "reset_after": RESET_AFTER,
}
CLOSED_PORT = 9  # discard: nothing listens there


class ServerHarness(Harness):
    """One whose counterpart is a FakeServer."""

    server: FakeServer
    api = "*"
    troubles = ("down", "timeout_before", "timeout_after", "reset_before", "reset_after", "denied")

    def calls(self) -> int:
        return self.server.total_calls

    def trouble(self, kind: Trouble) -> None:
        self.server.hang_seconds = 0.8
        if kind == "down":
            self.server.stop()
        elif kind == "denied":
            self.deny()
        else:
            self.server.faults.always(self.api, FAULTS[kind])

    def peace(self) -> None:
        self.server.faults.clear()

    def deny(self) -> None:
        raise AssertionError(f"{type(self).__name__} names the trouble denied and does not make it")

    def close(self) -> None:
        if not self.server.stopped.is_set():
            self.server.stop()


class WebhookHarness(ServerHarness):
    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.server: FakeReceiver = FakeReceiver()
        environment["HOOK_SECRET"] = FakeReceiver.SECRET
        self.secrets = (FakeReceiver.SECRET, "token-in-the-query")
        self.destination = build_in(
            home,
            "webhook",
            ScaledClock(factor=20),
            url=f"{self.server.url}/hooks?key=token-in-the-query",
            secret={"env": "HOOK_SECRET"},
            allow_loopback=True,
            timeout_seconds=0.3,
        )
        self.server.check_time = False
        self.server.refuse_batches_with = "13999999999"

    def received(self) -> Mapping[str, Any]:
        return self.server.state

    def effects(self) -> Counter[str]:
        return self.server.applied

    def bad_record(self) -> Record:
        return record("13999999999", self.values(1))

    def deny(self) -> None:
        self.server.secrets = []


class FileHarness(Harness):
    """Deliveries are read as whoever gets them reads them: the manifest first, then the machine's CSV."""

    fields: tuple[str, ...] = ("city", "note")

    @abstractmethod
    def contents(self) -> dict[str, bytes]:
        """Everything there by path, finished or not."""

    def deliveries(self) -> list[list[dict[str, str]]]:
        found = []
        contents = self.contents()
        for path, content in contents.items():
            if not path.endswith("manifest.json"):
                continue
            folder = path.removesuffix("manifest.json")
            rows: list[dict[str, str]] = []
            for entry in json.loads(content)["files"]:
                body = contents[folder + entry["name"]]
                assert len(body) == entry["bytes"]
                if entry["format"] == "csv_machine":
                    rows = list(csv.DictReader(body.decode().splitlines()))
            found.append(rows)
        return found

    def received(self) -> Mapping[str, Any]:
        return {row["phone"]: row["city"] for rows in self.deliveries() for row in rows}

    def effects(self) -> Counter[str]:
        return Counter(row["phone"] for rows in self.deliveries() for row in rows)

    def calls(self) -> int:
        return len(self.contents())

    def bad_record(self) -> Record:
        return record("13999999999", {"city": "\ud800 half a sign", "note": ""})


class LocalHarness(FileHarness):
    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.folder = home / "deliveries"
        formats = ["csv", "xlsx", "csv_machine", "parquet", "jsonl"]
        self.destination = build_in(home, "local_files", formats=formats)

    def contents(self) -> dict[str, bytes]:
        return {str(own): own.read_bytes() for own in self.folder.rglob("*") if own.is_file()}


class S3Harness(FileHarness):
    troubles = ("down",)
    secrets = (FakeS3.ACCESS_KEY, FakeS3.SECRET_KEY)

    def __init__(self, home: Path, environment: dict[str, str], server: FakeS3) -> None:
        server.reset()
        self.server, self.home = server, home
        environment.update(S3_ACCESS=FakeS3.ACCESS_KEY, S3_SECRET=FakeS3.SECRET_KEY)
        self._build(server.url)

    def _build(self, url: str) -> None:
        self.destination = build_in(
            self.home,
            "s3",
            bucket=FakeS3.BUCKET,
            endpoint_url=url,
            access_key={"env": "S3_ACCESS"},
            secret_key={"env": "S3_SECRET"},
            path_style=True,
            allow_loopback=True,
            formats=["csv", "csv_machine"],
            timeout_seconds=5,
        )

    def contents(self) -> dict[str, bytes]:
        return self.server.objects()

    def trouble(self, kind: Trouble) -> None:
        self._build(f"http://127.0.0.1:{CLOSED_PORT}")

    def peace(self) -> None:
        self._build(self.server.url)


class SftpHarness(FileHarness):
    troubles = ("down", "denied")
    secrets = (FakeSftp.PASSWORD,)

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.root = home / "server"
        self.root.mkdir()
        self.server = FakeSftp(self.root)
        self.environment = environment
        environment["SFTP_PASSWORD"] = FakeSftp.PASSWORD
        self.destination = build_in(
            home,
            "sftp",
            host="127.0.0.1",
            port=self.server.port,
            user=FakeSftp.USER,
            host_key=self.server.pinned,
            password={"env": "SFTP_PASSWORD"},
            formats=["csv", "csv_machine"],
            timeout_seconds=5,
        )

    def contents(self) -> dict[str, bytes]:
        return {
            str(own.relative_to(self.root)): own.read_bytes() for own in self.root.rglob("*") if own.is_file()
        }

    def calls(self) -> int:
        return self.server.connections

    def trouble(self, kind: Trouble) -> None:
        if kind == "down":
            self.server.stop()
        else:
            self.environment["SFTP_PASSWORD"] = "another"

    def peace(self) -> None:
        self.environment["SFTP_PASSWORD"] = FakeSftp.PASSWORD

    def close(self) -> None:
        self.server.stop()


class MatchingHarness(FileHarness):
    fields = ()

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.folder = home / "deliveries"
        self.destination = build_in(home, "ad_matching", platform="tencent")
        hashed = {matching_value(self.key(n), "phone", "md5"): self.key(n) for n in range(100)}
        self._keys = {value: key for value, key in hashed.items() if value}

    def contents(self) -> dict[str, bytes]:
        return {str(own): own.read_bytes() for own in self.folder.rglob("*") if own.is_file()}

    def deliveries(self) -> list[list[dict[str, str]]]:
        return [
            [{"phone": self._keys[line], "city": ""} for line in body.decode().splitlines()]
            for path, body in self.contents().items()
            if path.endswith("add_phone.txt")
        ]

    def bad_record(self) -> Record:
        return record("no phone", {})


class WeComTagsHarness(ServerHarness):
    api = "mark_tag"
    fields = ("RFM",)
    secrets = (FakeWeCom.SECRET,)
    key_type = "contact_id"

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        clock = ScaledClock(factor=20)
        self.server: FakeWeCom = FakeWeCom(clock=clock)
        environment["WECOM_SECRET"] = FakeWeCom.SECRET
        for number in range(40):
            self.server.follow("li", self.key(number))
        self.server.follow("li", "foreign")
        self.destination = build_in(
            home,
            "wecom_tags",
            clock,
            corp_id=FakeWeCom.CORP,
            secret={"env": "WECOM_SECRET"},
            base_url=self.server.url,
            allow_loopback=True,
            members=["li"],
            timeout_seconds=0.3,
        )

    def received(self) -> Mapping[str, Any]:
        return {customer: own.tags for (_, customer), own in self.server.follows.items() if own.tags}

    def effects(self) -> Counter[str]:
        return Counter(
            {customer: n for (_, customer, _, act), n in self.server.marked.items() if act == "add"}
        )

    def bad_record(self) -> Record:
        return record("stranger", {"RFM": "x"})

    def plant_foreign(self) -> str:
        self.server.follows["li", "foreign"].tags.add(self.server.make_tag("staff", "likes tea"))
        return "foreign"

    def deny(self) -> None:
        self.server.address_allowed = False
        self.server.revoke_tokens()

    def values(self, number: int) -> dict[str, JsonValue]:
        return {"RFM": super().values(number)["RFM"]}


class WeComMessagesHarness(ServerHarness):
    api = "add_msg_template"
    fields = ("sender",)
    options: Mapping[str, JsonValue] = {"text": "新品到店"}
    secrets = (FakeWeCom.SECRET,)
    key_type = "contact_id"

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        clock = ScaledClock(factor=0, start=run_of().started_at.timestamp() + 60)
        self.server: FakeWeCom = FakeWeCom(clock=clock)
        environment["WECOM_SECRET"] = FakeWeCom.SECRET
        for number in range(40):
            self.server.follow("li", self.key(number))
        self.destination = build_in(
            home,
            "wecom_messages",
            clock,
            corp_id=FakeWeCom.CORP,
            secret={"env": "WECOM_SECRET"},
            base_url=self.server.url,
            allow_loopback=True,
            timeout_seconds=0.3,
        )

    def received(self) -> Mapping[str, Any]:
        return {customer: own.text for own in self.server.messages.values() for customer in own.customers}

    def effects(self) -> Counter[str]:
        return Counter(customer for own in self.server.messages.values() for customer in own.customers)

    def values(self, number: int) -> dict[str, JsonValue]:
        return {"sender": "li"}

    def bad_record(self) -> Record:
        return record("stranger", {"sender": "li"})

    def deny(self) -> None:
        self.server.address_allowed = False
        self.server.revoke_tokens()


class SmsHarness(ServerHarness):
    api = "SendBatchSms"
    options: Mapping[str, JsonValue] = {
        "sign_name": FakeSms.SIGN,
        "template_code": FakeSms.TEMPLATE,
        "has_opt_out": True,
    }
    secrets = (FakeSms.KEY_ID, FakeSms.KEY_SECRET)

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        clock = ScaledClock(factor=0, start=run_of().started_at.timestamp() + 60)
        self.server: FakeSms = FakeSms(clock=clock)
        self.environment = environment
        environment.update(SMS_ID=FakeSms.KEY_ID, SMS_SECRET=FakeSms.KEY_SECRET)
        self.destination = build_in(
            home,
            "aliyun_sms",
            clock,
            base_url=self.server.url,
            access_key_id={"env": "SMS_ID"},
            access_key_secret={"env": "SMS_SECRET"},
            allow_loopback=True,
            timeout_seconds=0.3,
        )

    def received(self) -> Mapping[str, Any]:
        return {own.phone: own.content for own in self.server.texts}

    def effects(self) -> Counter[str]:
        return self.server.sent

    def bad_record(self) -> Record:
        return record("13012345", {"city": "x"})

    def deny(self) -> None:
        self.environment["SMS_SECRET"] = "another"

    def peace(self) -> None:
        super().peace()
        self.environment["SMS_SECRET"] = FakeSms.KEY_SECRET


class PostgresHarness(Harness):
    fields = ("city",)
    troubles = ("down", "denied")
    secrets = (PASSWORD,)

    def __init__(self, home: Path, environment: dict[str, str], url: str) -> None:
        self.url, self.environment = url, environment
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("drop table if exists people, people_jingxi, changes")
        self.connection.execute(
            "create table people (phone varchar(20) primary key, city text not null, extra int)"
        )
        self.connection.execute("create table changes (phone text)")
        self.connection.execute(
            "create or replace function noted() returns trigger language plpgsql as $$ begin "
            "if old is distinct from new then insert into changes values (new.phone); end if; return new; end $$"
        )
        self.connection.execute(
            "create trigger noting after insert or update on people for each row execute function noted()"
        )
        environment["PG_URL"] = url
        self.destination = build_in(home, "postgres", url={"env": "PG_URL"}, table="people", key="phone")

    def received(self) -> Mapping[str, Any]:
        return dict(self.connection.execute("select phone, city from people").fetchall())

    def effects(self) -> Counter[str]:
        return Counter(row[0] for row in self.connection.execute("select phone from changes"))

    def calls(self) -> int:
        row = self.connection.execute("select count(*) from changes").fetchone()
        return int(row[0]) if row else 0

    def bad_record(self) -> Record:
        return record("a key that is longer than its column", {"city": "x"})

    def plant_foreign(self) -> str:
        self.connection.execute("insert into people values ('foreign', 'theirs', 1)")
        return "foreign"

    def trouble(self, kind: Trouble) -> None:
        port = self.url.rpartition(":")[2].partition("/")[0]
        wrong = (
            self.url.replace(f":{port}/", f":{CLOSED_PORT}/")
            if kind == "down"
            else self.url.replace(PASSWORD, "x")
        )
        self.environment["PG_URL"] = wrong

    def peace(self) -> None:
        self.environment["PG_URL"] = self.url

    def close(self) -> None:
        self.connection.close()
