"""Files: local, S3, SFTP, and what ad platforms match by."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import paramiko
import pytest

from orchestration.destinations.ad_matching import matching_value
from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
)
from orchestration.destinations.protocol import Accepted, Destination, Record, Rejected
from orchestration.errors import UsageError
from tests.fakes.s3 import FakeS3
from tests.fakes.sftp import FakeSftp
from tests.unit.destination_support import build_in, record, run_of, send_all

FIELDS = ("name", "spent", "visits", "vip", "tags")
ROWS = [
    record(
        "13800000000",
        {"name": "=cmd|' /C calc'!A0", "spent": 12.5, "visits": 3, "vip": True, "tags": ["a", "b"]},
    ),
    record("013800000001", {"name": '王,"小"\r\n明', "spent": 7, "visits": None, "vip": False, "tags": None}),
    record(
        "13800000002",
        {"name": "'; drop table users", "spent": 0.1, "visits": 10**15, "vip": None, "tags": []},
    ),
]


def deliver(
    destination: Destination, rows: list[Record] = ROWS, fields: tuple[str, ...] = FIELDS, **run: Any
) -> Any:
    session = destination.open(run_of(fields, key_type="phone", **run))
    try:
        outcomes = send_all(session, rows)
        session.finish()
        return outcomes
    finally:
        session.close()


def test_every_format_holds_the_records(tmp_path: Path) -> None:
    formats = ["csv", "xlsx", "csv_machine", "parquet", "jsonl"]
    deliver(build_in(tmp_path, "local_files", formats=formats))
    (folder,) = (tmp_path / "deliveries").glob("*/*")
    assert folder.name == run_of().run_id
    human = (folder / "records.csv").read_bytes()
    assert human.startswith(b"\xef\xbb\xbfphone,name,spent,visits,vip,tags\r\n")
    assert "'=cmd|" in human.decode("utf-8-sig")
    assert "\t013800000001" in human.decode("utf-8-sig")
    machine = (folder / "records_machine.csv").read_bytes()
    assert machine.startswith(b"phone,name,spent,visits,vip,tags\n13800000000,=cmd|")
    sheet = openpyxl.load_workbook(folder / "records.xlsx")["名单"]
    cells = list(sheet.iter_rows(min_row=2, values_only=True))
    assert cells[0] == ("13800000000", "=cmd|' /C calc'!A0", 12.5, 3, True, '["a", "b"]')
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
    parquet = duckdb.sql(f"from '{folder}/records.parquet'")
    assert [str(own) for own in parquet.types] == [
        "VARCHAR",
        "VARCHAR",
        "DOUBLE",
        "BIGINT",
        "BOOLEAN",
        "VARCHAR",
    ]
    assert [row[0] for row in parquet.fetchall()] == [own.key for own in ROWS]
    lines = [json.loads(own) for own in (folder / "records.jsonl").read_text().splitlines()]
    assert lines[2]["name"] == "'; drop table users"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [own["rows"] for own in manifest["files"]] == [3] * 5
    assert all(stat.S_IMODE(own.stat().st_mode) == 0o600 for own in folder.iterdir())


def test_the_same_run_again_leaves_the_bytes_untouched(tmp_path: Path) -> None:
    destination = build_in(tmp_path, "local_files", formats=["csv", "xlsx", "parquet"])
    deliver(destination)
    (folder,) = (tmp_path / "deliveries").glob("*/*")
    before = {
        own.name: (own.read_bytes(), own.stat().st_mtime_ns, own.stat().st_ino) for own in folder.iterdir()
    }
    deliver(destination)
    after = {
        own.name: (own.read_bytes(), own.stat().st_mtime_ns, own.stat().st_ino) for own in folder.iterdir()
    }
    assert after == before
    deliver(destination, ROWS[:2])
    assert json.loads((folder / "manifest.json").read_text())["count"] == 2
    assert not list(folder.glob("*.part"))


def test_a_mirror_says_what_each_record_does(tmp_path: Path) -> None:
    rows = [ROWS[0], record("13800000002", operation="remove")]
    deliver(build_in(tmp_path, "local_files", formats=["csv_machine"]), rows, mode="mirror")
    (file,) = (tmp_path / "deliveries").rglob("records_machine.csv")
    assert [line.split(",")[1] for line in file.read_text().splitlines()] == ["operation", "upsert", "remove"]


def test_killed_in_the_middle_of_a_file_no_final_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = build_in(tmp_path, "local_files", formats=["csv", "parquet"])
    process = os.fork()
    if process == 0:
        import shutil

        def half(source: Any, target: Any, *_: Any) -> None:
            target.write(source.read(10))
            target.flush()
            os.kill(os.getpid(), 9)

        shutil.copyfileobj = half  # type: ignore[assignment]
        try:
            deliver(destination)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -9
    left = [own.name for own in (tmp_path / "deliveries").rglob("*") if own.is_file()]
    assert left == ["records.csv.part"]
    assert len(list((tmp_path / "temp").iterdir())) == 1
    deliver(destination)
    names = {own.name for own in (tmp_path / "deliveries").rglob("*") if own.is_file()}
    assert names == {"records.csv", "records.parquet", "manifest.json"}
    assert not list((tmp_path / "temp").iterdir()), "what a dead process left is swept"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestration.destinations.local_files.shutil.copyfileobj", full)
    with pytest.raises(Halted, match="No space left"):
        deliver(build_in(tmp_path, "local_files"))
    assert not list((tmp_path / "deliveries").rglob("manifest.json"))


@pytest.mark.parametrize("name", ["../../x", "A", "a/b", "", "x" * 65])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        deliver(build_in(tmp_path, "local_files"), activation=name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deliveries").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "deliveries" / "vip_to_test").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="folder_leads_out"):
        deliver(build_in(tmp_path, "local_files"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_hundred_thousand_records_stay_in_order(tmp_path: Path) -> None:
    session = build_in(tmp_path, "local_files", formats=["csv_machine"]).open(
        run_of(("city",), key_type="phone")
    )
    for start in range(0, 100_000, 10_000):
        send_all(
            session, [record(f"138{n:08d}", {"city": "上海"}) for n in range(start, start + 10_000)], 10_000
        )
    session.finish()
    session.close()
    (file,) = (tmp_path / "deliveries").rglob("records_machine.csv")
    lines = file.read_text().splitlines()
    assert len(lines) == 100_001
    assert lines[-1] == "13800099999,上海"


# --- S3 ---


@pytest.fixture(scope="module")
def s3() -> Iterator[FakeS3]:
    server = FakeS3()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    s3.reset()
    monkeypatch.setenv("S3_KEY", FakeS3.ACCESS_KEY)
    return s3


def in_bucket(server: FakeS3, home: Path, **settings: Any) -> Destination:
    key = {"env": "S3_KEY"}
    return build_in(
        home,
        "s3",
        **{
            "bucket": FakeS3.BUCKET,
            "endpoint_url": server.url,
            "access_key": key,
            "secret_key": key,
            "path_style": True,
            "allow_loopback": True,
            "formats": ["csv_machine"],
            **settings,
        },
    )


def test_objects_have_keys_that_nobody_guesses_and_the_run_finds_again(
    bucket: FakeS3, tmp_path: Path
) -> None:
    deliver(in_bucket(bucket, tmp_path))
    first = bucket.objects()
    folders = {key.rpartition("/")[0] for key in first}
    assert len(folders) == 1
    (folder,) = folders
    word = folder.split("/")[-1]
    assert folder == f"jingxi/vip_to_test/{run_of().run_id}/{word}"
    assert len(word) == 32
    deliver(in_bucket(bucket, tmp_path))
    assert bucket.objects() == first
    other = tmp_path / "other"
    other.mkdir()
    deliver(in_bucket(bucket, other))
    assert len({key.rpartition("/")[0] for key in bucket.objects()}) == 2, "another home has another key"


def test_an_interrupted_upload_is_replaced_manifest_last(
    bucket: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.destinations.s3 import S3Store

    true_make = S3Store._make

    def without_manifest(self: S3Store, key: str, file: Path, digest: str) -> bool:
        if key.endswith("manifest.json"):
            raise OutcomeUnknown("connection_broken")
        return true_make(self, key, file, digest)

    monkeypatch.setattr(S3Store, "_make", without_manifest)
    with pytest.raises(OutcomeUnknown):
        deliver(in_bucket(bucket, tmp_path), ROWS[:1])
    assert [key.rpartition("/")[2] for key in bucket.objects()] == ["records_machine.csv"]
    monkeypatch.setattr(S3Store, "_make", true_make)
    deliver(in_bucket(bucket, tmp_path))
    found = {key.rpartition("/")[2]: body for key, body in bucket.objects().items()}
    assert json.loads(found["manifest.json"])["count"] == 3
    assert len(found["records_machine.csv"].decode().splitlines()) >= 4


def test_what_is_wrong_with_a_bucket_is_told(bucket: FakeS3, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_such_bucket"):
        in_bucket(bucket, tmp_path, bucket="another-bucket").check()
    with pytest.raises(NotSent):
        in_bucket(bucket, tmp_path, endpoint_url="http://127.0.0.1:9", timeout_seconds=1).check()
    with pytest.raises(ConfigurationError, match="url_not_https"):
        in_bucket(bucket, tmp_path, allow_loopback=False).check()


# --- SFTP ---


def on_server(server: FakeSftp, home: Path, **settings: Any) -> Destination:
    return build_in(
        home,
        "sftp",
        **{
            "host": "127.0.0.1",
            "port": server.port,
            "user": FakeSftp.USER,
            "host_key": server.pinned,
            "password": {"env": "SFTP_PASSWORD"},
            "formats": ["csv_machine"],
            "timeout_seconds": 5,
            **settings,
        },
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFTP_PASSWORD", FakeSftp.PASSWORD)
    (tmp_path / "server").mkdir()
    return tmp_path / "server"


@pytest.mark.parametrize("renames_over", [True, False])
def test_files_appear_by_renaming_the_manifest_last(root: Path, tmp_path: Path, renames_over: bool) -> None:
    with FakeSftp(root, renames_over=renames_over) as server:
        destination = on_server(server, tmp_path)
        deliver(destination)
        assert server.visible == ["records_machine.csv", "manifest.json"]
        deliver(destination)
        assert len(server.visible) == 2, "the same again is left as it is"
        deliver(destination, ROWS[:1])
        assert server.visible[2:] == ["records_machine.csv", "manifest.json"]
        assert not list(root.rglob("*.part"))


def test_a_connection_lost_in_the_middle_leaves_no_final_name(root: Path, tmp_path: Path) -> None:
    with FakeSftp(root) as server:
        server.break_after_bytes = 0
        with pytest.raises(OutcomeUnknown):
            deliver(on_server(server, tmp_path))
        assert server.visible == []
        server.break_after_bytes = None
        deliver(on_server(server, tmp_path))
        assert server.visible[-1] == "manifest.json"


def test_a_server_with_another_key_gets_no_password(root: Path, tmp_path: Path) -> None:
    with FakeSftp(root) as server, FakeSftp(root) as impostor:
        with pytest.raises(PermissionDenied, match="host_key_differs"):
            on_server(server, tmp_path, port=impostor.port).check()
        ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBh0Nl4fAw7Yb0HYnOdIdgCC3C3m0Y3bHyS0y2JxQm9w"
        with pytest.raises(DestinationError):
            on_server(server, tmp_path, host_key=ed25519).check()


def test_a_private_key_lets_in(root: Path, tmp_path: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    file = tmp_path / "key"
    key.write_private_key_file(str(file))
    file.chmod(0o600)
    with FakeSftp(root, client_key=key) as server:
        destination = on_server(server, tmp_path, password=None, private_key={"file": str(file)})
        destination.check()
        assert deliver(destination) == [Accepted()] * 3


# --- matching files ---


def test_the_platforms_check_value() -> None:
    assert matching_value("13800000000", "phone", "md5") == "5daad257487f1b493114181a22e37eb5"
    for written in (
        "+8613800000000",
        "+86 138-0000-0000",
        "008613800000000",
        "8613800000000",
        " 13800000000 ",
    ):
        assert matching_value(written, "phone", "md5") == "5daad257487f1b493114181a22e37eb5"
    assert matching_value("12345678-90ab-cdef-1234-567890abcdef", "idfa", "md5") == matching_value(
        "12345678-90AB-CDEF-1234-567890ABCDEF", "idfa", "md5"
    )
    assert matching_value("A1B2C3D4E5F607", "imei", "sha256") == matching_value(
        "a1b2c3d4e5f607", "imei", "sha256"
    )


@pytest.mark.parametrize(
    ("key", "identifier"),
    [
        *(("12345", "phone"), ("23800000000", "phone"), ("+1 415 555 0100", "phone"), ("", "phone")),
        *(("00000000-0000-0000-0000-000000000000", "idfa"), ("000000000000000", "imei"), ("x", "oaid")),
    ],
)
def test_keys_that_match_nobody_are_rejected(key: str, identifier: Any) -> None:
    assert matching_value(key, identifier, "md5") is None


def test_a_matching_file_is_sorted_and_holds_each_hash_once(tmp_path: Path) -> None:
    destination = build_in(tmp_path, "ad_matching", platform="ocean_engine", hash="sha256")
    rows = [record("13800000001"), record("13800000000"), record("+8613800000000"), record("no phone")]
    rows.append(record("13800000002", operation="remove"))
    outcomes = deliver(destination, rows, (), mode="mirror")
    assert outcomes == [Accepted()] * 3 + [Rejected("phone_unfit"), Accepted()]
    (added,) = (tmp_path / "deliveries").rglob("add_phone.txt")
    (removed,) = (tmp_path / "deliveries").rglob("remove_phone.txt")
    lines = added.read_text().splitlines()
    assert lines == sorted(lines)
    assert len(lines) == 2
    assert removed.read_text().splitlines() == [matching_value("13800000002", "phone", "sha256")]
    manifest = json.loads((added.parent / "manifest.json").read_text())
    assert manifest["match_type"] == 14
    assert "13800000000" not in added.read_text()


def test_a_store_that_holds_no_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ConfigurationError, UsageError)):
        build_in(
            tmp_path, "ad_matching", platform="tencent", store={"kind": "ad_matching", "platform": "tencent"}
        )
