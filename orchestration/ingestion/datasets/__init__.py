"""Adapters: real data into the input layer, one declarative file per dataset.

    spec = load_dataset("online_retail")            # or a path to your own adapter file
    result = prepare(spec, Path("downloads"), home, settings)
    print("\\n".join(result.report.lines()))

`prepare` writes landing files; taking them in is the intake's work.
"""

from orchestration.ingestion.datasets.engine import DatasetResult, Progress, prepare
from orchestration.ingestion.datasets.report import DatasetReport, read_report
from orchestration.ingestion.datasets.spec import DatasetSpec, list_datasets, load_dataset

__all__ = [
    "DatasetReport",
    "DatasetResult",
    "DatasetSpec",
    "Progress",
    "list_datasets",
    "load_dataset",
    "prepare",
    "read_report",
]
