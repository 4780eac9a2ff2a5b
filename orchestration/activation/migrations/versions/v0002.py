"""Destinations that their receiver has switched off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table switched_off."""
    op.create_table(
        "switched_off",
        sa.Column("destination", sa.String(64), primary_key=True),
        sa.Column("activation", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("switched_off_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """What was sent is not forgotten."""
    raise RuntimeError("The ledger is never taken back.")
