"""Tables of the ledger. A change here needs a migration in `migrations/versions`.

Nothing here is personal data: `key_hash` and `row_hash` are HMAC-SHA256 with the home's secret.key; codes are short words.
All times are UTC without a zone.
"""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0002"
"""The version that the code below needs."""

RECORD_STATES = ("planned", "sending", "accepted", "rejected", "in_doubt", "held")
RUN_STATES = ("planned", "awaiting_approval", "running", "finished", "failed", "superseded")
CLOSED = ("finished", "failed", "superseded")

METADATA = sa.MetaData()


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(repr(value) for value in values)})"


RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("activation", sa.String(64), nullable=False),
    sa.Column("audience", sa.String(64), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(8), nullable=False),
    sa.Column("source", sa.String(160), nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("source_rows", sa.BigInteger, nullable=False),
    sa.Column("added", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("removed", sa.BigInteger, nullable=False),
    sa.Column("unchanged", sa.BigInteger, nullable=False),
    sa.Column("planned", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rejected", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("in_doubt", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("held", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("started_at", sa.DateTime),
    sa.Column("closed_at", sa.DateTime),
    sa.CheckConstraint(_one_of("state", RUN_STATES), name="run_state"),
    # The books balance: no run ends with a record that nobody accounts for.
    sa.CheckConstraint(
        f"not ({_one_of('state', CLOSED)}) or planned = accepted + rejected + in_doubt + held",
        name="run_balances",
    ),
    sa.Index("runs_by_line", "activation", "destination", "created_at"),
)

RECORDS = sa.Table(
    "records",
    METADATA,
    sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("operation", sa.String(6), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("code", sa.String(64), nullable=False, server_default=""),
    sa.Column("batch", sa.Integer),
    sa.Column("not_before", sa.DateTime),
    sa.Column("changed_at", sa.DateTime),
    sa.CheckConstraint(_one_of("state", RECORD_STATES), name="record_state"),
    sa.CheckConstraint("operation in ('upsert', 'remove')", name="record_operation"),
    # A sent record belongs to a batch, whose key is needed to send it again.
    sa.CheckConstraint("state not in ('sending', 'in_doubt') or batch is not null", name="record_batch"),
    sa.Index("records_not_before", "not_before"),
)

ACKNOWLEDGED = sa.Table(
    "acknowledged",
    METADATA,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("activation", sa.String(64), primary_key=True),
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("acknowledged_at", sa.DateTime, nullable=False),
)

APPROVALS = sa.Table(
    "approvals",
    METADATA,
    sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("approved_at", sa.DateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

# Destinations whose receiver said that nothing will ever be taken there again; until a person says otherwise.
SWITCHED_OFF = sa.Table(
    "switched_off",
    METADATA,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("activation", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("switched_off_at", sa.DateTime, nullable=False),
)
