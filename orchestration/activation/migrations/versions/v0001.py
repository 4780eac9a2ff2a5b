"""The first ledger: runs, records, acknowledged, approvals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_RUN_STATES = "'planned', 'awaiting_approval', 'running', 'finished', 'failed', 'superseded'"
_RECORD_STATES = "'planned', 'sending', 'accepted', 'rejected', 'in_doubt', 'held'"


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(26), primary_key=True),
        sa.Column("activation", sa.String(64), nullable=False),
        sa.Column("audience", sa.String(64), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("source", sa.String(160), nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("source_rows", "added", "changed", "removed", "unchanged", "planned")
        ),
        *(_count(name) for name in ("accepted", "rejected", "in_doubt", "held")),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("started_at", sa.DateTime),
        sa.Column("closed_at", sa.DateTime),
        sa.CheckConstraint(f"state in ({_RUN_STATES})", name="run_state"),
        sa.CheckConstraint(
            "not (state in ('finished', 'failed', 'superseded')) or planned = accepted + rejected + in_doubt + held",
            name="run_balances",
        ),
    )
    op.create_index("runs_by_line", "runs", ["activation", "destination", "created_at"])
    op.create_table(
        "records",
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
        sa.CheckConstraint(f"state in ({_RECORD_STATES})", name="record_state"),
        sa.CheckConstraint("operation in ('upsert', 'remove')", name="record_operation"),
        sa.CheckConstraint("state not in ('sending', 'in_doubt') or batch is not null", name="record_batch"),
    )
    op.create_index("records_not_before", "records", ["not_before"])
    op.create_table(
        "acknowledged",
        sa.Column("destination", sa.String(64), primary_key=True),
        sa.Column("activation", sa.String(64), primary_key=True),
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(26), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("approved_at", sa.DateTime, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """There is nothing before: what was sent is not forgotten."""
    raise RuntimeError("The ledger is never taken back.")
