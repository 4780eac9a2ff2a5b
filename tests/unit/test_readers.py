from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest

from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.landing import Format, LandingFile
from orchestration.ingestion.readers import open_file


class Streams:
    """Stands where the engine stands and keeps what is registered, so that the test decides who reads when."""

    def __init__(self) -> None:
        self.opened: list[Any] = []

    def register(self, _: str, stream: Any) -> None:
        self.opened.append(stream)


def test_a_pass_left_running_does_not_change_the_encoding_of_the_next(tmp_path: Path) -> None:
    """An engine that has rows enough leaves its stream running; what that one finds out is for later passes."""
    lines = (f"{n},{'a' if n < 100_000 else '上海'}{'x' * 80}\n" for n in range(110_000))
    path = tmp_path / "m.csv"
    path.write_bytes(("member_id,city\n" + "".join(lines)).encode("gb18030"))
    streams = Streams()
    file = LandingFile(TABLES_BY_NAME["members"], path, path.name, Format.CSV, False, None)
    reader = open_file(cast(duckdb.DuckDBPyConnection, streams), file)

    reader.relation(whole=False)
    reader.relation(whole=False)
    left, current = streams.opened
    left.read_next_batch()
    current.read_next_batch()
    for stream in (left, current):
        with pytest.raises(Exception) as caught:
            stream.read_all()
        assert caught.typename == "_WrongEncodingError"

    reader.relation(whole=False)
    again: pa.Table = streams.opened[-1].read_all()
    assert again.num_rows == reader.records() == 110_000
    assert again["c1"][-1].as_py().startswith("上海")
